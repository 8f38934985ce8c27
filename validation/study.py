"""What the studies share: their options, and how results are written."""

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bayeslmm.files import output_folder, replacing

VALIDATION = Path(__file__).resolve().parent


def study_options(doc: str | None) -> argparse.Namespace:
    """Read the options of a study: where it runs, how large, and where its results go."""
    claim, *_ = (doc or "").splitlines()
    parser = argparse.ArgumentParser(description=claim)
    parser.add_argument("--cluster", default="local", metavar="local|ADDRESS", help="Dask: here, or tcp://HOST:PORT")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes of a local cluster")
    parser.add_argument("--smoke", action="store_true", help="a small size, to see that it works")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything random")
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--checkpoints", type=Path, default=VALIDATION / "work" / "studies", metavar="DIR", help="finished tasks"
    )
    return parser.parse_args()


def write_results(stem: Path, table: pd.DataFrame, page: str, picture: Figure) -> None:
    """Write the numbers of a study as JSON, its page and its picture."""
    output_folder(stem.parent)
    with replacing(stem.with_suffix(".json")) as temporary:
        table.to_json(temporary, orient="records", indent=1)
    with replacing(stem.with_suffix(".md")) as temporary:
        temporary.write_text(page)
    with replacing(stem.with_suffix(".png")) as temporary:
        picture.savefig(temporary, dpi=120)
    print(page)
