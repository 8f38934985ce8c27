"""What NUTS samples for a command, and how its draws are kept."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xarray import DataTree

from bayeslmm.base.checks import InputError
from bayeslmm.base.files import replacing
from bayeslmm.cohort.cohort import Drop
from bayeslmm.commands.inference import NutsSettings, PriorSettings
from bayeslmm.commands.settings import KinshipSettings
from bayeslmm.kinship.covariance import Covariance
from bayeslmm.likelihood.rotation import JointData, RotatedData
from bayeslmm.posterior.groups import check_groups
from bayeslmm.posterior.sampling import takes_prior
from bayeslmm.posterior.user_program import UserProgram, load_program


def user_program(model: str | None, prior: PriorSettings, methods: Sequence[str]) -> UserProgram | None:
    """Load the program that ``--model`` names, and say what it is.

    Raises:
        InputError: for errors in its file that the user can fix, or ``--model`` without NUTS.
    """
    if not model:
        return None
    if "nuts" not in methods:
        raise InputError(f"--model {model} requires --methods nuts")
    program = load_program(model)
    passed = bool(prior.given) and takes_prior(program.program)
    if prior.given and not passed and "exact" not in methods:
        raise InputError(
            f"{prior.given[0]} applies to programs that take a prior, unlike {program}: set its prior in its file"
        )
    print(f"NUTS samples {program}, {program.kind}; {'the prior of the options' if passed else 'its own prior'}")
    return program


def check_draws_groups(groups: Sequence[str], methods: Sequence[str], model: str | None) -> None:
    """Refuse groups of draws where there are no draws of a built-in program.

    Raises:
        InputError: without a posterior that is sampled, or with ``--model``.
    """
    if groups and not {"nuts", "importance"} & {*methods}:
        raise InputError(f"--draws-groups {groups[0]} requires --methods nuts")
    if groups and model:
        raise InputError("--draws-groups are those of the built-in programs: leave it out, or --model")


def told_groups(groups: Sequence[str], data: RotatedData | JointData, nuts: NutsSettings) -> None:
    """Say how large groups of draws will be.

    Raises:
        InputError: as `check_groups`.
    """
    if words := check_groups(groups, data, nuts.chains * nuts.draws):
        print(f"  {words}")


def program_record(program: UserProgram | None, prior: PriorSettings) -> dict[str, dict[str, Any]]:
    """Return what ``run.json`` says about a user's program."""
    if program is None:
        return {}
    where = f"these, if {program} takes them" if prior.given else f"inside {program}"
    return {"prior": {"nuts": where}, "inputs_sha256": {str(program.path): program.sha256}}


def attributes(
    kinship: Covariance, settings: KinshipSettings, dropped: Sequence[Drop], program: UserProgram | None
) -> dict[str, Any]:
    """Return what is kept with draws, so that they can be understood and repeated."""
    return ({"model": str(program), "model_sha256": program.sha256} if program else {}) | {
        "dropped": json.dumps([asdict(drop) for drop in dropped]),
        "kinship": json.dumps({"source": kinship.source, **kinship.details}),
        "centred": int(settings.centre),
        "normalised": int(settings.normalise),
    }


def write_draws(draws: DataTree, path: Path) -> None:
    """Write draws as NetCDF.

    Raises:
        WriteError: as `replacing`.
    """
    # In memory first: HDF5 ends the process with a segmentation fault where the disk is full.
    view = draws.to_netcdf(None, engine="h5netcdf")
    content = bytes(view)
    del view  # an exported buffer outlives its owner where an error keeps it, which ends Python
    with replacing(path) as temporary:
        temporary.write_bytes(content)
