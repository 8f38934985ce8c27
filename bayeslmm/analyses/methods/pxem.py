"""Parameter-expanded EM of maximum likelihood."""

from bayeslmm.analyses.method import Method
from bayeslmm.analyses.methods.em import IN_MIXED_MODELS, climb, em_rows, near_ml
from bayeslmm.analyses.source import Source
from bayeslmm.estimators.em import px_em

METHOD = Method(
    name="pxem", label="PX-EM", spread="se", rank=5, order=4,
    fit=lambda request: px_em(request.white),
    rows=em_rows,
    near=near_ml,
    why=climb,
    marker_space=lambda white, p: px_em(white, m=p),
    sources=(Source("Liu, Rubin and Wu (1998)", "10.1093/biomet/85.4.755", "parameter-expanded EM"), IN_MIXED_MODELS),
)  # fmt: skip
