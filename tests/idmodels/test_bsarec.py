import pytest
import torch

from idmodels.bsarec import BSARec, causal_mean
from idmodels.settings import IDSettings


def small(**changes: float) -> BSARec:
    torch.manual_seed(0)
    sizes = {"width": 8, "max_length": 6, "inner_width": 12, "dropout": 0.0, "attention_dropout": 0.0}
    return BSARec(13, IDSettings("bsarec", **(sizes | changes))).eval()


def test_causal_mean_by_hand() -> None:
    values = torch.tensor([[[1.0], [3.0], [8.0], [4.0]]])
    assert causal_mean(values, 2).flatten().tolist() == [1.0, 2.0, 5.5, 6.0]
    assert causal_mean(values, 1).flatten().tolist() == [1.0, 3.0, 8.0, 4.0]
    assert causal_mean(values, 9).flatten().tolist() == [1.0, 2.0, 4.0, 4.0]


def test_causal_mean_is_that_of_the_slices() -> None:
    values = torch.randn(3, 20, 4)
    means = causal_mean(values, 5)
    for step in range(20):
        assert torch.allclose(means[:, step], values[:, max(0, step - 4) : step + 1].mean(dim=1), atol=1e-5)


def test_equal_items_pass_the_filter_whatever_beta_is() -> None:
    block = small().blocks[0].filter
    states = torch.randn(1, 1, 8).expand(1, 5, 8)
    expected = torch.nn.functional.layer_norm(2 * states, (8,), eps=1e-12)
    assert torch.allclose(block(states), expected, atol=1e-5)


def test_the_filter_alone_reads_as_many_items_as_its_blocks_reach() -> None:
    # Two blocks of two items: the last state has seen three items, and no older ones.
    model = small(filter_share=1.0, filter_items=2)
    histories = torch.tensor([[1, 2, 3, 4, 5, 6], [9, 9, 9, 4, 5, 6], [1, 2, 3, 9, 5, 6]])
    last = model.encode(histories)[:, 5]
    assert torch.allclose(last[0], last[1], atol=1e-5)
    assert not torch.allclose(last[0], last[2], atol=1e-3)


def test_attention_alone_reads_everything() -> None:
    model = small(filter_share=0.0)
    last = model.encode(torch.tensor([[1, 2, 3, 4, 5, 6], [9, 2, 3, 4, 5, 6]]))[:, 5]
    assert not torch.allclose(last[0], last[1], atol=1e-4)


def test_distance_decides_not_the_place() -> None:
    """One block that reads one item back by attention: the same two items give the same state wherever they stand."""
    model = small(filter_share=0.0, layers=1)
    with torch.no_grad():
        model.blocks[0].distance_bias[:, 2:] = -1e9
    states = model.encode(torch.tensor([[1, 2, 0, 0, 0, 0], [7, 8, 9, 5, 1, 2]]))
    assert torch.allclose(states[0, 1], states[1, 5], atol=1e-5)
    assert not torch.allclose(states[0, 1], states[1, 4], atol=1e-3)


def test_order_matters_through_the_distance_bias() -> None:
    model = small(filter_share=0.0, layers=1)
    histories = torch.tensor([[1, 2, 3], [2, 1, 3]])
    assert torch.allclose(*model.encode(histories)[:, 2], atol=1e-5)  # no bias yet: attention is a set
    with torch.no_grad():
        model.blocks[0].distance_bias[:, 1] = 3.0
    assert not torch.allclose(*model.encode(histories)[:, 2], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filter_share": 1.5}, r"filter_share must be in \[0, 1\], got 1.5"),
        ({"filter_items": 0}, "filter_items must be at least 1, got 0"),
        ({"temperature": -1.0}, "temperature must be at least 0, got -1.0"),
        ({"mask_ratio": 0.0}, "mask_ratio must be between 0 and 1, got 0.0"),
    ],
)
def test_settings_out_of_range(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IDSettings(**change)
