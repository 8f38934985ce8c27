"""What a kinship was made of, in a line."""

from collections.abc import Mapping
from typing import Any

from bayeslmm.genotypes.chromosomes import left_out_words
from bayeslmm.genotypes.filters import MarkerCounts


def origin_words(source: str, details: Mapping[str, Any]) -> str:
    """Say which markers or animals a kinship was made from, or what its file was read as; empty if neither.

    Args:
        source: of the kinship.
        details: how it was made.
    """
    if "read_as" in details:
        return f"{source}: {details['read_as']}"
    if "markers" in details:
        left_out, coded = left_out_words(details["left_out"]), "coding" in details
        line = MarkerCounts(**details["markers"]).line(maf=details["maf"], geno=details["geno"], left_out=left_out)
        return f"{details['coding']}; {line}" if coded else line
    if "animals" in details:
        line = f"pedigree: {details['animals']:,} animals, {details['inbred']:,} of them inbred"
        founders = details["founders_without_a_row"]
        shown = f" ({details['such_founders']})" if founders else ""
        return f"{line}; {founders:,} parents without a line are taken as founders{shown}"
    return ""
