"""``bayeslmm demo``: heritability of two traits of mice."""

from dataclasses import dataclass
from pathlib import Path

from bayeslmm.base.checks import InputError
from bayeslmm.commands import main
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.options import DEMO_RESULTS
from bayeslmm.commands.parser import parse


@dataclass(frozen=True)
class DemoSettings:
    """The options of `demo`."""

    out: Path
    overwrite: bool


SETTINGS = DemoSettings


def run(settings: DemoSettings) -> Answer:
    """Run `h2` on the mice; return its answer.

    Raises:
        InputError: if the mouse data are not there.
    """
    data = _data()
    command = ["h2", "--bfile", str(data / "mouse_hs1940"), "--pheno", str(data / "pheno.tsv"), "--trait", "CD8", "MCH"]
    # The default folder is the demo's: it may be run twice.
    overwrite = settings.overwrite or settings.out == DEMO_RESULTS
    command += ["--out", str(settings.out), *(["--overwrite"] if overwrite else [])]
    print(f"bayeslmm {' '.join(command)}")
    return main.run_command(parse(command))


def _data() -> Path:
    """Return the folder of the mouse data: in the repository, from which it runs or from which it is installed."""
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder := root / "validation" / "data" / "mouse_hs1940").is_dir():
            return folder
    raise InputError(
        "the demo's mouse data (validation/data/mouse_hs1940) come with the source repository, not with the installed "
        "package: run the demo in a clone"
    )
