"""One reduction for every penalty, and leading eigenvectors, against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.linalg import ArpackError

from genopred.errors import ModelError
from genopred.learning import spectral
from genopred.learning.spectral import SMALL, Tridiagonal, leading


def products(m, rank, seed=0):
    """Z'Z of which `rank` eigenvalues, over six orders of magnitude, are not zero; and a vector."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.standard_normal((m, m)))[0][:, :rank]
    return np.asfortranarray((q * np.logspace(3, -3, rank)) @ q.T), rng.standard_normal(m)


@pytest.mark.parametrize("m, rank", [(1, 1), (2, 1), (3, 3), (40, 40), (130, 60), (130, 0)])
def test_every_penalty_is_that_of_dense_algebra(m, rank):
    a, b = products(m, rank)
    form = Tridiagonal(a.copy(order="F"), b)
    for delta in (1e-3, 0.2, 30.0, 1e4):
        shifted = a + delta * np.eye(m)
        found = form.at(delta)
        inverse = np.linalg.inv(shifted)
        np.testing.assert_allclose(form.back(found.solution), inverse @ b, rtol=1e-7, atol=1e-7 * np.abs(inverse).max())
        assert found.logdet == pytest.approx(np.linalg.slogdet(shifted)[1], rel=1e-8, abs=1e-6)
        assert found.inverse_trace == pytest.approx(np.trace(inverse), rel=1e-7)
        assert form.b @ found.solution == pytest.approx(b @ inverse @ b, rel=1e-7)


def test_only_the_lower_triangle_is_read():
    a, b = products(30, 30)
    kept = Tridiagonal(np.asfortranarray(np.tril(a)), b).at(0.5)
    assert kept.logdet == pytest.approx(Tridiagonal(a.copy(order="F"), b).at(0.5).logdet)
    np.testing.assert_allclose(leading(np.tril(a), 3)[0], leading(a, 3)[0])


def test_what_nobodys_dosages_can_give_is_refused():
    a, b = products(20, 20)
    a[3, 3] -= 2 * np.linalg.eigvalsh(a)[-1]
    with pytest.raises(ModelError, match="LD reference that is shrunk"):
        Tridiagonal(a, b).at(1.0)


@pytest.mark.parametrize("m", [5, SMALL + 60])
@pytest.mark.parametrize("seed", range(3))
def test_leading_eigenvectors_are_those_of_all(m, seed):
    a, _ = products(m, m, seed)
    values, vectors = leading(a, 4)
    all_values, all_vectors = np.linalg.eigh(a)
    np.testing.assert_allclose(values, all_values[::-1][:4], rtol=1e-9)
    cosines = np.abs((vectors * all_vectors[:, ::-1][:, :4]).sum(axis=0))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-8)
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(4)] > 0).all()
    assert np.array_equal(vectors, leading(a, 4)[1])


def test_fewer_directions_than_asked_for_and_no_convergence(monkeypatch):
    a, _ = products(SMALL + 30, 3)
    values, vectors = leading(a, 6)
    assert (values[:3] > 1e-4).all() and np.abs(values[3:]).max() < 1e-9
    np.testing.assert_allclose((vectors[:, :3] * values[:3]) @ vectors[:, :3].T, a, atol=1e-8)
    assert np.abs(leading(np.zeros((SMALL + 1, SMALL + 1)), 2)[0]).max() == 0

    def fails(*_, **__):
        raise ArpackError(-9999)

    monkeypatch.setattr(spectral, "eigsh", fails)
    np.testing.assert_allclose(leading(a, 3)[0], values[:3], rtol=1e-9)
