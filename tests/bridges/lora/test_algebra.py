"""Each core against the product of matrices that it stands for."""

import pytest
import torch

from bridges.errors import BridgeError
from bridges.lora.algebra import Dense, Identity, ProductOfSums, SumOfProducts, core_matrix, low_rank

K, R, IN, OUT = 3, 2, 5, 4


@pytest.fixture
def down() -> torch.Tensor:
    return torch.randn(K, R, IN, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def up() -> torch.Tensor:
    return torch.randn(K, OUT, R, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 7, IN, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def computed(x, down, up, core):
    return low_rank(x, down.flatten(0, 1), up.permute(1, 0, 2).flatten(1), core)


def test_sum_of_products(x, down, up) -> None:
    weights = torch.tensor([0.2, 0.5, -0.3], dtype=torch.float64)
    expected = sum(w * (x @ a.T @ b.T) for w, a, b in zip(weights, down, up, strict=True))
    torch.testing.assert_close(computed(x, down, up, SumOfProducts(weights)), expected)


def test_product_of_sums_has_the_cross_terms(x, down, up) -> None:
    weights = torch.tensor([0.2, 0.5, -0.3], dtype=torch.float64)
    a, b = ((weights[:, None, None] * part).sum(dim=0) for part in (down, up))
    torch.testing.assert_close(computed(x, down, up, ProductOfSums(weights)), x @ a.T @ b.T)
    crossed = sum(weights[j] * weights[k] * (x @ down[k].T @ up[j].T) for j in range(K) for k in range(K))
    torch.testing.assert_close(x @ a.T @ b.T, crossed)


@pytest.mark.parametrize("core", [SumOfProducts, ProductOfSums])
def test_weights_per_sample_are_each_sample_under_its_own(x, down, up, core) -> None:
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.1, 0.9]], dtype=torch.float64)
    together = computed(x, down, up, core(weights))
    for sample in range(2):
        torch.testing.assert_close(together[sample], computed(x[sample], down, up, core(weights[sample])))


@pytest.mark.parametrize("core", [SumOfProducts, ProductOfSums])
def test_weights_1_0_0_are_the_first_adapter_to_the_bit(x, down, up, core) -> None:
    x, down, up = x.float(), down.float(), up.float()
    first = low_rank(x, down[0], up[0], Identity())
    assert torch.equal(computed(x, down, up, core(torch.tensor([1.0, 0.0, 0.0]))), first)


@pytest.mark.parametrize("core", [SumOfProducts, ProductOfSums])
def test_the_cheaper_way_for_all_samples_alike_is_the_same_map(x, down, up, core) -> None:
    weights = torch.tensor([0.2, 0.5, -0.3], dtype=torch.float64)
    per_sample = computed(x, down, up, core(weights.expand(2, 3)))
    torch.testing.assert_close(computed(x, down, up, core(weights)), per_sample)


def test_dense_reaches_every_atom_from_every_atom(x, down, up) -> None:
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(2, K * R, K * R, generator=generator, dtype=torch.float64)
    a, b = down.flatten(0, 1), up.permute(1, 0, 2).flatten(1)
    expected = torch.stack([x[n] @ (b @ matrix[n] @ a).T for n in range(2)])
    torch.testing.assert_close(computed(x, down, up, Dense(matrix)), expected)


def test_block_diagonal_is_dense_with_blocks(x, down, up) -> None:
    """iLoRA: one adapter of rank K R whose rank is cut into K blocks with a weight each."""
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], dtype=torch.float64)
    blocks = torch.diag_embed(weights.repeat_interleave(R, dim=1))
    torch.testing.assert_close(computed(x, down, up, SumOfProducts(weights)), computed(x, down, up, Dense(blocks)))


def test_core_matrix_is_m() -> None:
    like = torch.zeros(1)
    weights = torch.tensor([2.0, 3.0])
    assert torch.equal(core_matrix(SumOfProducts(weights), 4, like), torch.diag(torch.tensor([2.0, 2.0, 3.0, 3.0])))
    crossed = torch.tensor([[4.0, 0, 6, 0], [0, 4, 0, 6], [6, 0, 9, 0], [0, 6, 0, 9]])
    assert torch.equal(core_matrix(ProductOfSums(weights), 4, like), crossed)
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(core_matrix(Dense(matrix), 2, like), matrix)


@pytest.mark.parametrize(
    ("core", "message"),
    [
        (SumOfProducts(torch.ones(4)), "4 weights cannot be those of low-rank states of width 6"),
        (SumOfProducts(torch.ones(5, K)), "was given 5 user vectors, but reads 2 samples"),
        (ProductOfSums(torch.ones(5, K)), "was given 5 user vectors, but reads 2 samples"),
        (Dense(torch.eye(5)), "a core of width 5 cannot map states of width 6"),
    ],
)
def test_a_core_that_does_not_fit_is_refused(x, down, up, core, message: str) -> None:
    with pytest.raises(BridgeError, match=message):
        computed(x, down, up, core)
