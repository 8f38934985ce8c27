"""Passes over genotypes on more than one process or machine, as options ask for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from bayeslmm.base.checks import InputError
from bayeslmm.base.cluster import check_cluster
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.settings import KinshipSettings
from bayeslmm.kinship.cluster_passes import ClusterPasses, cluster_passes
from bayeslmm.kinship.genotype_products import GenotypeProducts


@dataclass(frozen=True)
class ClusterSettings:
    """Who makes the passes over genotypes: this process, unless there is a cluster."""

    cluster: str | None

    def __post_init__(self) -> None:
        if self.cluster is not None:
            check_cluster(self.cluster, what="passes on a cluster (--cluster)")

    def check(self, kinship: KinshipSettings) -> None:
        """Refuse a cluster where there are no passes over genotypes.

        Raises:
            InputError: naming the other option.
        """
        if self.cluster is None or not kinship.given:
            return
        given = {"--grm": kinship.grm, "--pedigree": kinship.pedigree, "--kinship": kinship.kinship}
        option = next((name for name, value in given.items() if value), "--gemma-eigen")
        raise InputError(f"--cluster shares passes over genotypes, and K is given by {option}: leave one out")

    @contextmanager
    def opened(self) -> Iterator[ClusterPasses | None]:
        """Open the cluster, if there is one; say how many take part.

        Raises:
            InputError: as `cluster_passes`.
        """
        if self.cluster is None:
            yield None
            return
        with cluster_passes(self.cluster) as passes:
            print(f"--cluster {self.cluster}: {passes.threads} parts of a pass over genotypes are made at a time")
            yield passes


def on_cluster(inputs: Inputs[Any], passes: ClusterPasses | None) -> Inputs[Any]:
    """Return inputs whose passes over genotypes are made on a cluster, if there is one and they have any."""
    if passes is None or not isinstance(inputs.kinship, GenotypeProducts):
        return inputs
    return replace(inputs, kinship=inputs.kinship.by(passes))
