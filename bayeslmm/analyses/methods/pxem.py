"""Parameter-expanded EM of maximum likelihood."""

from bayeslmm.analyses.method import Method, OneTrait
from bayeslmm.analyses.methods.em import IN_MIXED_MODELS, climb, em_rows, near_ml
from bayeslmm.analyses.source import Source
from bayeslmm.estimators.em import EmFit, px_em
from bayeslmm.likelihood.rotation import RotatedData


def _fit(request: OneTrait) -> EmFit:
    return px_em(request.data)


def _in_marker_space(data: RotatedData, p: int) -> EmFit:
    return px_em(data, m=p)


METHOD = Method(
    name="pxem",
    label="PX-EM",
    spread="se",
    rank=5,
    order=4,
    fit=_fit,
    rows=em_rows,
    near=near_ml,
    why=climb,
    marker_space=_in_marker_space,
    sources=(Source("Liu, Rubin and Wu (1998)", "10.1093/biomet/85.4.755", "parameter-expanded EM"), IN_MIXED_MODELS),
)
