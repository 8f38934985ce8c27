"""Whom to cite for what a run did: the sources that the docstrings of its methods name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """Something to cite.

    Attributes:
        who: authors and year.
        where: a DOI, ``arXiv:number``, or a journal with volume and page.
        why: what of the run it is the source of.
    """

    who: str
    where: str
    why: str

    @property
    def url(self) -> str:
        """Where it can be read, or "" if it has no such address."""
        if self.where.startswith("arXiv:"):
            return f"https://arxiv.org/abs/{self.where.removeprefix('arXiv:')}"
        return f"https://doi.org/{self.where}" if self.where.startswith("10.") else ""


_ALWAYS = (Source("Lippert et al. (2011)", "10.1038/nmeth.1681", "the eigenbasis of the kinship"),)
_REML = Source("Patterson and Thompson (1971)", "10.1093/biomet/58.3.545", "restricted maximum likelihood")
_EM_MIXED = Source("Foulley and van Dyk (2000)", "10.1186/1297-9686-32-2-143", "both in linear mixed models")
_EM = Source("Dempster, Laird and Rubin (1977)", "10.1111/j.2517-6161.1977.tb01600.x", "EM")
_BOUND = Source("Self and Liang (1987)", "10.1080/01621459.1987.10478472", "likelihood ratios on the boundary")
_OF_METHOD: dict[str, tuple[Source, ...]] = {
    "reml": (_REML, _BOUND),
    "ml": (Source("Hartley and Rao (1967)", "10.1093/biomet/54.1-2.93", "maximum likelihood"),),
    "em": (_EM, _EM_MIXED),
    "pxem": (Source("Liu, Rubin and Wu (1998)", "10.1093/biomet/85.4.755", "parameter-expanded EM"), _EM_MIXED),
    "mom": (
        Source("Haseman and Elston (1972)", "10.1007/BF01066731", "moments"),
        Source("Zhou (2017)", "10.1214/17-AOAS1052", "their equations"),
    ),
    "rhe": (Source("Wu and Sankararaman (2018)", "10.1093/bioinformatics/bty253", "randomised moments"),),
    "lasso": (Source("Sun and Zhang (2012)", "10.1093/biomet/ass043", "the scaled lasso"),),
    "exact": (Source("Trefethen and Weideman (2014)", "10.1137/130932132", "the quadrature of the exact posterior"),),
    "nuts": (
        Source("Hoffman and Gelman (2014)", "JMLR 15:1593", "NUTS"),
        Source("Phan et al. (2019)", "arXiv:1912.11554", "NumPyro"),
        Source("Vehtari et al. (2021)", "10.1214/20-BA1221", "R-hat and effective sample sizes"),
    ),
    "boundary": (
        Source("Crainiceanu and Ruppert (2004)", "10.1111/j.1467-9868.2004.00438.x", "the exact test of h2 = 0"),
        Source("Schweiger et al. (2016)", "10.1016/j.ajhg.2016.04.016", "confidence intervals by test inversion"),
    ),
    "disagreement": (
        Source("Hausman (1978)", "10.2307/1913827", "how far moments may be from REML"),
        Source("Johnson and Rogers (1951)", "10.1214/aoms/1177729592", "how far a mode may be from a mean"),
    ),
    "joint reml": (_REML, Source("Meyer (1991)", "10.1186/1297-9686-23-1-67", "REML of several traits"), _BOUND),
    "joint nuts": (
        Source("Lewandowski, Kurowicka and Joe (2009)", "10.1016/j.jmva.2009.04.008", "the prior of correlations"),
        Source("Garrett and Zeger (2000)", "10.1111/j.0006-341X.2000.01055.x", "the overlap of prior and posterior"),
    ),
    "scan exact": (Source("Zhou and Stephens (2012)", "10.1038/ng.2310", "exact tests of markers"),),
    "scan null": (Source("Kang et al. (2010)", "10.1038/ng.548", "tests at the variance ratio of the null"),),
    "scan": (
        Source("Servin and Stephens (2007)", "10.1371/journal.pgen.0030114", "Bayes factors of effects"),
        Source("Wakefield (2009)", "10.1002/gepi.20359", "what they tend to in large samples"),
        Source("Devlin and Roeder (1999)", "10.1111/j.0006-341X.1999.00997.x", "lambda_GC"),
        Source("Aldor-Noiman et al. (2013)", "10.1080/00031305.2013.847865", "the band of the QQ plot"),
    ),
}
_OF_OPTION: dict[tuple[str, Any], Source] = {
    ("se", "average"): Source("Gilmour, Thompson and Cullis (1995)", "10.2307/2533274", "average information"),
    ("loco", True): Source("Listgarten et al. (2012)", "10.1038/nmeth.2037", "leaving out a marker's chromosome"),
}
_OF_SCALE = {
    "hwe": Source("Yang et al. (2011)", "10.1016/j.ajhg.2010.11.011", "the kinship from genotypes"),
    "vanraden": Source("VanRaden (2008)", "10.3168/jds.2007-0980", "the kinship from genotypes"),
}
_PEDIGREE = Source("Henderson (1976)", "10.2307/2529339", "the kinship from a pedigree")


def sources(methods: Iterable[str], record: Mapping[str, Any]) -> list[Source]:
    """Return whom to cite, each once.

    Args:
        methods: those of `heritability.METHODS`, and what else a command did (keys of the table above).
        record: what ``run.json`` holds.
    """
    options = record["options"]
    found = list(_ALWAYS)
    found += [_OF_SCALE[scale]] if (scale := record["kinship"].get("scale")) in _OF_SCALE else []
    found += [_PEDIGREE] if options.get("pedigree") else []
    found += [source for method in methods for source in _OF_METHOD[method]]
    found += [source for (name, value), source in _OF_OPTION.items() if options.get(name) == value]
    return list(dict.fromkeys(found))
