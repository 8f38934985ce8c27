from bayeslmm.analyses import joint_methods, methods
from bayeslmm.analyses.correlations import JOINT_METHODS
from bayeslmm.analyses.heritability import METHODS
from bayeslmm.analyses.variance_components import COMPONENT_METHODS


def test_a_method_has_the_name_of_its_file():
    assert sorted(METHODS) == list(methods.NAMES)
    assert sorted(JOINT_METHODS) == list(joint_methods.NAMES)


def test_methods_are_listed_and_ranked_without_ties():
    assert list(METHODS) == ["reml", "ml", "em", "pxem", "mom", "rhe", "lasso", "exact", "nuts", "threshold"]
    ranked = sorted(METHODS.values(), key=lambda method: method.rank)
    assert [method.rank for method in ranked] == list(range(1, 11))
    assert [method.name for method in ranked[:3]] == ["exact", "nuts", "reml"]


def test_methods_for_several_traits_are_called_as_for_one():
    for name, method in JOINT_METHODS.items():
        of_one = (METHODS | COMPONENT_METHODS)[name]
        assert (method.label, method.spread) == (of_one.label, of_one.spread)
