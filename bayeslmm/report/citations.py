"""What to cite for a run: the sources of its methods, its kinship and its options."""

from collections.abc import Iterable, Mapping
from typing import Any

from bayeslmm.analyses.source import Source

OF_KINSHIP = (Source("Lippert et al. (2011)", "10.1038/nmeth.1681", "the eigenbasis of the kinship"),)
OF_OPTION: dict[tuple[str, Any], Source] = {
    ("se", "average"): Source("Gilmour, Thompson and Cullis (1995)", "10.2307/2533274", "average information"),
    ("loco", True): Source("Listgarten et al. (2012)", "10.1038/nmeth.2037", "leaving out a marker's chromosome"),
}
OF_SCALE = {
    "hwe": Source("Yang et al. (2011)", "10.1016/j.ajhg.2010.11.011", "the kinship from genotypes"),
    "vanraden": Source("VanRaden (2008)", "10.3168/jds.2007-0980", "the kinship from genotypes"),
}
PEDIGREE = Source("Henderson (1976)", "10.2307/2529339", "the kinship from a pedigree")


def sources(of_methods: Iterable[Source], record: Mapping[str, Any]) -> list[Source]:
    """Return what to cite, each source once.

    Args:
        of_methods: sources of the methods that the run used.
        record: what ``run.json`` holds.
    """
    options, scale = record["options"], record.get("kinship", {}).get("scale")
    cited = [
        *(OF_KINSHIP if "kinship" in record else ()),
        *([OF_SCALE[scale]] if scale in OF_SCALE else []),
        *([PEDIGREE] if options.get("pedigree") else []),
    ]
    cited += of_methods
    cited += [source for (name, value), source in OF_OPTION.items() if options.get(name) == value]
    return list(dict.fromkeys(cited))
