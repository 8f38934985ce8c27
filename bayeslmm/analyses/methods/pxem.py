"""Parameter-expanded EM of maximum likelihood."""

from dataclasses import replace

from bayeslmm.analyses.method import Method
from bayeslmm.analyses.methods import em
from bayeslmm.analyses.source import Source
from bayeslmm.estimators.em import px_em

METHOD: Method = replace(
    em.METHOD, name="pxem", label="PX-EM", rank=5, order=4,
    fit=lambda request: px_em(request.white),
    marker_space=lambda white, p: px_em(white, m=p),
    sources=(
        Source("Liu, Rubin and Wu (1998)", "10.1093/biomet/85.4.755", "parameter-expanded EM"),
        em.IN_MIXED_MODELS,
    ),
)  # fmt: skip
