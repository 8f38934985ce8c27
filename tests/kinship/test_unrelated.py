import numpy as np
import pytest
from numpy.testing import assert_array_equal

import bayeslmm as bl
from bayeslmm.kinship.unrelated import relatives_line, without_relatives


def kinship(pairs, n=6):
    K = np.eye(n)
    for i, j in pairs:
        K[i, j] = K[j, i] = 0.5
    return bl.Kinship(tuple("abcdef"[:n]), K, "K")


@pytest.mark.parametrize(
    ("pairs", "removed"),
    [
        ([], []),
        ([(0, 1)], ["b"]),  # of two alike the last
        ([(0, 1), (1, 2)], ["b"]),  # one for two pairs
        ([(0, 1), (0, 2), (0, 3), (4, 5)], ["a", "f"]),
        ([(0, 1), (0, 2), (1, 2)], ["b", "c"]),
    ],
)
def test_whoever_has_the_most_relatives_is_left_out(pairs, removed):
    left = without_relatives(kinship(pairs), 0.05)
    assert left.details["related"] == {"cutoff": 0.05, "pairs": len(pairs), "removed": removed}
    assert set(left.ids) == set("abcdef") - set(removed)
    assert_array_equal(left.K, np.eye(len(left.ids)))
    assert f"pairs related by more than 0.05: {len(pairs)}; individuals left out: {len(removed)}" in relatives_line(
        left
    )


def test_nobody_left_is_an_error():
    everybody = kinship([(i, j) for i in range(4) for j in range(i)], n=4)
    with pytest.raises(bl.InputError, match=r"3 of 4 individuals would be left out, as 6 pairs have more than 0.05"):
        without_relatives(everybody, 0.05)
