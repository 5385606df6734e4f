import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from bridges import whitening
from bridges.errors import BridgeError
from bridges.whitening import Whitening, component_count


def cone(rows: int, width: int) -> torch.Tensor:
    """Correlated vectors far from the origin, as an LLM's are; row 0 is an outlier that must not count."""
    vectors = 20 + torch.randn(rows, width) @ torch.randn(width, width)
    vectors[0] = 1e4
    return vectors


@pytest.mark.parametrize(("rows", "width", "components"), [(60, 12, 5), (60, 12, 12), (9, 40, 7)])
def test_parity_with_sklearn_up_to_sign(rows, width, components):
    vectors = cone(rows, width)
    ours = Whitening.fit(vectors, components).apply(vectors)[1:].numpy()
    theirs = PCA(components, whiten=True, svd_solver="full").fit_transform(vectors[1:].double().numpy())
    theirs *= np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_components_are_uncorrelated_with_variance_one_and_row_0_is_zero():
    vectors = cone(200, 16)
    whitened = Whitening.fit(vectors, 8).apply(vectors)
    assert torch.equal(whitened[0], torch.zeros(8))
    torch.testing.assert_close(whitened[1:].T.cov(), torch.eye(8), atol=1e-4, rtol=0)


def test_signs_are_fixed_by_the_axes_own_largest_entry():
    basis = Whitening.fit(cone(50, 10), 6).basis
    largest = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True))
    assert (largest > 0).all()


def test_padding_row_is_not_fitted():
    vectors = cone(50, 10)
    other = vectors.clone()
    other[0] = -3.0
    assert torch.equal(Whitening.fit(vectors, 6).basis, Whitening.fit(other, 6).basis)


def test_axes_without_variance_become_zero_not_noise():
    flat = torch.randn(50, 2) @ torch.randn(2, 10) + 100  # rank 2
    whitened = Whitening.fit(flat, 5).apply(flat)
    assert torch.equal(whitened[:, 2:], torch.zeros(50, 3))
    same = torch.full((20, 6), 0.1)
    assert torch.equal(Whitening.fit(same, 3).apply(same), torch.zeros(20, 3))


def test_chunks_change_nothing(monkeypatch):
    vectors = cone(100, 12)
    whole = Whitening.fit(vectors, 6).apply(vectors)
    monkeypatch.setattr(whitening, "CHUNK_ROWS", 7)
    torch.testing.assert_close(Whitening.fit(vectors, 6).apply(vectors), whole)


def test_component_count_is_what_the_data_allow():
    assert component_count(1000, 576, 256) == 256
    assert component_count(1000, 64, 256) == 64
    assert component_count(20, 64, 256) == 18  # 19 centred vectors span 18 directions
    for n_items, width, wanted in ((2, 64, 8), (20, 64, 0)):
        with pytest.raises(BridgeError, match="whitening needs at least 2 items"):
            component_count(n_items, width, wanted)
