import pytest
import torch

from idmodels.batches import IDBatch
from idmodels.errors import IDModelError
from idmodels.prefix_rows import draw_negatives, prefix_rows


def test_one_row_per_target_by_hand() -> None:
    batch = IDBatch(
        items=torch.tensor([[1, 2, 3], [4, 5, 0]]),
        targets=torch.tensor([[2, 3, 9], [5, 0, 0]]),
        rows=torch.tensor([[0, 1, 2], [8, 9, -1]]),
    )
    items, lengths, targets, rows = prefix_rows(batch)
    assert items.tolist() == [[1, 0, 0], [1, 2, 0], [1, 2, 3], [4, 0, 0]]
    assert lengths.tolist() == [1, 2, 3, 1]
    assert targets.tolist() == [2, 3, 9, 5]
    assert rows.tolist() == [0, 1, 2, 8]


def test_negatives_are_all_the_other_items() -> None:
    torch.manual_seed(0)
    histories, targets = torch.tensor([[1, 2, 0]]).expand(2000, 3), torch.full((2000,), 3)
    assert set(draw_negatives(histories, targets, 21).tolist()) == set(range(4, 21))


def test_where_the_history_holds_everything_only_the_target_is_left_out() -> None:
    torch.manual_seed(0)
    histories, targets = torch.tensor([[1, 2, 3]]).expand(500, 3), torch.tensor([1, 2, 3, 1, 2]).repeat(100)
    negatives = draw_negatives(histories, targets, 4)
    assert (negatives != targets).all()
    assert set(negatives.tolist()) == {1, 2, 3}


def test_a_single_item_has_no_negative() -> None:
    with pytest.raises(IDModelError, match="at least two items"):
        draw_negatives(torch.tensor([[1]]), torch.tensor([1]), 2)
