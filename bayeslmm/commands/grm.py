"""``bayeslmm grm``: the kinship matrix of genotypes, in files of GCTA's format."""

from dataclasses import dataclass

from bayeslmm.commands.answer import Answer
from bayeslmm.commands.genotypes import GenotypeFile
from bayeslmm.commands.results_folder import new_files
from bayeslmm.commands.settings import MarkerSettings
from bayeslmm.kinship.files import grm_paths, write_grm
from bayeslmm.kinship.from_genotypes import genomic_kinship


@dataclass(frozen=True)
class GrmSettings:
    """The options of `grm`."""

    genotypes: GenotypeFile
    markers: MarkerSettings
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
    with new_files(paths, inputs=settings.genotypes.files, lock=lock, overwrite=settings.overwrite):
        genotypes = settings.genotypes.open(markers.chr)
        kinship = genomic_kinship(genotypes, scale=markers.scale, maf=markers.maf, geno=markers.geno)
        write_grm(kinship, settings.out)
    print(kinship.origin_line())
    who = f"{len(kinship.ids):,} individuals, mean diagonal {kinship.mean_diagonal:.4f}"
    print(f"wrote {', '.join(map(str, paths))}: {who}")
    found = {"files": [*map(str, paths)], "individuals": len(kinship.ids), "mean_diagonal": kinship.mean_diagonal}
    return Answer(found={"kinship": found})
