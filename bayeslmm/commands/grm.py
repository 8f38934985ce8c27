"""``bayeslmm grm``: the kinship matrix of genotypes, in files of GCTA's format."""

from dataclasses import dataclass
from pathlib import Path

from bayeslmm.base.files import replacing
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.genotypes import GenotypeFile
from bayeslmm.commands.results_folder import new_files
from bayeslmm.commands.settings import MarkerSettings
from bayeslmm.genotypes.selection import Selection
from bayeslmm.kinship.from_genotypes import genomic_kinship
from bayeslmm.kinship.grm import grm_paths, id_lines, write_grm
from bayeslmm.kinship.unrelated import relatives_line, without_relatives


@dataclass(frozen=True)
class GrmSettings:
    """The options of `grm`."""

    genotypes: GenotypeFile
    markers: MarkerSettings
    selection: Selection
    grm_cutoff: float | None
    out: str
    overwrite: bool


SETTINGS = GrmSettings


def run(settings: GrmSettings) -> Answer:
    """Compute K and write it.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    paths, markers = grm_paths(settings.out), settings.markers
    lock = paths[0].with_name(f".{paths[0].name}.lock")
    cutoff = settings.grm_cutoff
    removed = Path(f"{settings.out}.grm.removed.id")
    paths += [removed] if cutoff is not None else []
    inputs = [*settings.genotypes.files, *settings.selection.files]
    with new_files(paths, inputs=inputs, lock=lock, overwrite=settings.overwrite):
        genotypes = settings.genotypes.open(markers.chr, settings.selection)
        kinship = genomic_kinship(genotypes, scale=markers.scale, maf=markers.maf, geno=markers.geno)
        print(kinship.origin_line())
        if cutoff is not None:
            everybody, kinship = kinship, without_relatives(kinship, cutoff)
            print(relatives_line(kinship))
            left = set(kinship.ids)
            gone = everybody.take([i for i, name in enumerate(everybody.ids) if name not in left])
            with replacing(removed) as temporary:
                temporary.write_text(id_lines(gone))
        write_grm(kinship, settings.out)
    who = f"{len(kinship.ids):,} individuals, mean diagonal {kinship.mean_diagonal:.4f}"
    print(f"wrote {', '.join(map(str, paths))}: {who}")
    found = {"files": [*map(str, paths)], "individuals": len(kinship.ids), "mean_diagonal": kinship.mean_diagonal}
    return Answer(found={"kinship": found})
