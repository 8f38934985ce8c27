import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.kinship.kinship import centre
from bayeslmm.likelihood.spectrum_files import load_spectrum, save_spectra


def test_rotation_diagonalises(dense):
    K, X, y, spectrum = dense
    assert_allclose((spectrum.U * spectrum.s) @ spectrum.U.T, K, atol=1e-12)
    data = spectrum.rotate(y[:, None], X)
    assert_allclose(spectrum.U @ data.Y[:, 0], y, atol=1e-12)
    assert (np.diff(data.s) >= 0).all()


def test_scales_are_mean_diagonals(dense):
    K, _, _, spectrum = dense
    assert_allclose(spectrum.mean_diagonal, np.diag(K).mean())
    assert_allclose(spectrum.k_scale, np.diag(centre(K)).mean())
    # Centring is idempotent, so k_scale does not depend on whether K was centred.
    assert_allclose(bl.decompose(centre(K)).k_scale, spectrum.k_scale)


def test_principal_components_lead_and_are_orthonormal(dense):
    K, _, _, spectrum = dense
    V = spectrum.principal_components(3)
    assert_allclose(V.T @ V, np.eye(3), atol=1e-12)
    assert_allclose(np.diag(V.T @ K @ V), np.sort(np.linalg.eigvalsh(K))[::-1][:3])
    with pytest.raises(InputError, match="pcs must lie between 0 and 39"):
        spectrum.principal_components(40)


def test_rounding_is_set_to_zero_and_more_is_refused(rng):
    A = rng.standard_normal((30, 10))
    K = A @ A.T
    assert bl.decompose(K.astype(np.float32).astype(float)).s[0] == 0
    indefinite = np.block([[K, np.zeros((30, 1))], [np.zeros((1, 30)), -3.0]])
    with pytest.raises(
        InputError, match=r"K.txt: 1 of 31 eigenvalues of the kinship matrix are negative, .* smallest -3"
    ):
        bl.decompose(indefinite, where="K.txt")
    with pytest.warns(InputWarning, match="they are set to 0, which changes K by"):
        bent = bl.decompose(indefinite, bend=True)
    nearest = indefinite.copy()
    nearest[30, 30] = 0.0
    assert_allclose((bent.U * bent.s) @ bent.U.T, nearest, atol=1e-9)


def test_nan_is_refused_before_lapack_sees_it(dense):
    K = dense[0].copy()
    K[3, 2] = np.inf
    with pytest.raises(InputError, match="the kinship matrix must hold finite numbers only"):
        bl.decompose(K)


def test_shapes_and_missing_values_are_refused(dense):
    _, X, y, spectrum = dense
    with pytest.raises(InputError, match=r"Y must have shape \(40, columns\) like K, but it has \(39, 1\)"):
        spectrum.rotate(y[1:, None], X)
    y[7] = np.nan
    with pytest.raises(InputError, match=r"Y must hold finite numbers only, but 1 of 40 are not, first nan at .*8, 1"):
        spectrum.rotate(y[:, None], X)


def test_a_cached_spectrum_is_used_only_where_it_belongs(dense, tmp_path, rng):
    K, _, _, spectrum = dense
    ids = [f"p{i}" for i in range(40)]
    half = bl.decompose(K[:12, :12])
    save_spectra(tmp_path / "e.npz", [(ids[:12], half), (ids, spectrum)])
    assert_allclose(load_spectrum(tmp_path / "e.npz", ids, K).s, spectrum.s)
    assert_allclose(load_spectrum(tmp_path / "e.npz", ids[:12], K[:12, :12]).U, half.U)
    with pytest.raises(
        InputError, match=r"does not belong to these 39 individuals .first p1, p2, p3 and 36 more.: it holds"
    ):
        load_spectrum(tmp_path / "e.npz", ids[1:], K[1:, 1:])
    with pytest.raises(InputError, match="does not belong to these 40 individuals"):
        load_spectrum(tmp_path / "e.npz", ids[::-1], K[::-1, ::-1])
    with pytest.raises(InputError, match="belongs to these individuals but not to this kinship matrix"):
        load_spectrum(tmp_path / "e.npz", ids, K + 0.01 * np.eye(40))
    (tmp_path / "x.npz").write_text("nonsense")
    with pytest.raises(InputError, match="is not a file of decompositions"):
        load_spectrum(tmp_path / "x.npz", ids, K)


@pytest.mark.parametrize("unit", [1.0, 1e-8, 1e8])
def test_a_triangle_is_refused_in_any_unit(dense, unit):
    for triangle in (np.triu, np.tril):
        with pytest.raises(InputError, match="must be symmetric, but row 4 column 32 is"):
            bl.decompose(triangle(dense[0]) * unit)


def test_pairwise_missing_genotypes_are_explained_and_told(rng):
    """GCTA's matrix: products over the markers that both have, divided by their number."""
    n, p = 60, 80
    G = rng.binomial(2, rng.uniform(0.2, 0.8, p), (n, p)).astype(float)
    called = rng.uniform(size=(n, p)) > 0.02
    mean = (G * called).sum(axis=0) / called.sum(axis=0)
    W = np.where(called, (G - mean) / np.sqrt(mean * (1 - mean / 2)), 0.0)
    K = W @ W.T / (called.astype(float) @ called.T.astype(float))
    s, U = np.linalg.eigh(K)
    assert s[0] < -1e-3
    with pytest.warns(InputWarning, match=rf"{(s < -1e-5).sum()} of 60 eigenvalues .* the smallest {s[0]:.3g}"):
        spectrum = bl.decompose(K)
    assert_allclose((spectrum.U * spectrum.s) @ spectrum.U.T, (U * np.maximum(s, 0)) @ U.T, atol=1e-10)
    with pytest.raises(InputError, match="neither rounding nor missing genotypes explain this"):
        bl.decompose(K - 0.5 * np.outer(U[:, 0], U[:, 0]))


def test_a_bent_kinship_can_be_kept(dense, tmp_path):
    K, *_ = dense
    ids = [f"p{i}" for i in range(40)]
    s, U = np.linalg.eigh(K)
    indefinite = K - (s[0] + 0.3) * np.outer(U[:, 0], U[:, 0])
    with pytest.warns(InputWarning, match="1 of 40 eigenvalues"):
        bent = bl.decompose(indefinite, bend=True)
    save_spectra(tmp_path / "e.npz", [(ids, bent)])
    assert load_spectrum(tmp_path / "e.npz", ids, indefinite).s[0] == 0
    with pytest.raises(InputError, match="not to this kinship matrix"):
        load_spectrum(tmp_path / "e.npz", ids, K + 0.01 * np.eye(40))


@pytest.mark.parametrize(("K", "what"), [(np.zeros((3, 3)), "0 everywhere"), (np.eye(3) * 1e-150, "1e-150 on average")])
def test_a_kinship_without_relationships_is_refused(K, what):
    with pytest.raises(InputError, match=rf"must hold relationships of about 1, but it is {what}"):
        bl.decompose(K)


def test_memory_is_asked_for_before_a_decomposition_and_a_likelihood(dense, monkeypatch):
    K, X, y, spectrum = dense
    monkeypatch.setattr("bayeslmm.base.memory.available", lambda: 5000.0)
    with pytest.raises(InputError, match=r"the decomposition of the kinship of 40 individuals needs 3.84e-05 GB"):
        bl.decompose(K)
    with pytest.raises(InputError, match=r"a likelihood of 40 individuals with 3 covariates needs 5.76e-06 GB"):
        spectrum.rotate(y[:, None], X)


@pytest.fixture
def stored(dense, tmp_path):
    """A decomposition in a file, its K and its ids; and a function that writes other arrays in place of its own."""
    K, _, _, spectrum = dense
    ids, path = [f"p{i}" for i in range(len(K))], tmp_path / "e.npz"
    save_spectra(path, [(ids, spectrum)])
    arrays = dict(np.load(path))

    def write(**other):
        np.savez(path, **(arrays | other))
        return path

    return K, ids, spectrum, write


def test_a_stored_decomposition_comes_back_bit_for_bit(stored):
    K, ids, spectrum, write = stored
    found = load_spectrum(write(), ids, K)
    assert (found.s == spectrum.s).all()
    assert (found.U == spectrum.U).all()


def _orthogonal_but_to_one(U):
    turned = U.copy()
    turned[:, 0] = (U[:, 0] + U[:, 1]) / np.sqrt(2)
    return turned


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, U: {"s0": np.where(np.arange(len(s)) == 3, np.nan, s)}, "not all of its numbers are finite"),
        (lambda s, U: {"s0": s[:-1]}, "eigenvalues float64"),
        (lambda s, U: {"U0": U.astype(complex)}, "eigenvectors complex128"),
        (lambda s, U: {"U0": U.astype("U8")}, "eigenvectors <U8"),
        (lambda s, U: {"s0": s[::-1], "U0": U[:, ::-1]}, "its eigenvalues are not ascending from 0"),
        (lambda s, U: {"s0": s - s[3]}, "its eigenvalues are not ascending from 0"),
        (lambda s, U: {"U0": _orthogonal_but_to_one(U)}, "its eigenvectors are not orthonormal"),
        (lambda s, U: {"U0": U * (1 + 1e-6)}, "its eigenvectors are not orthonormal"),
        (lambda s, U: {"U0": np.roll(U, 1, axis=1)}, "belongs to these individuals but not to this kinship matrix"),
    ],
)
def test_a_decomposition_that_is_none_of_this_k_is_refused(stored, change, message):
    K, ids, spectrum, write = stored
    path = write(**change(spectrum.s, spectrum.U))
    with pytest.raises(InputError, match=message):
        load_spectrum(path, ids, K)


def test_every_file_that_is_no_decomposition_is_told(stored):
    """Cut off anywhere, with any byte changed, or another kind of file."""
    K, ids, spectrum, write = stored
    path = write()
    whole = path.read_bytes()
    for start in range(0, len(whole), 97):
        for damaged in (whole[:start], whole[:start] + bytes([whole[start] ^ 16]) + whole[start + 1 :]):
            path.write_bytes(damaged)
            try:  # some bytes hold nothing but times and the like
                assert (load_spectrum(path, ids, K).U == spectrum.U).all()
            except InputError:
                continue
    with path.open("wb") as stream:
        np.save(stream, spectrum.U)
    with pytest.raises(InputError, match="is not a file of decompositions"):
        load_spectrum(path, ids, K)
