import pytest
import torch
from torch import Tensor

from idmodels.batches import IDBatch
from idmodels.bert4rec import BERT4Rec, hide
from idmodels.settings import IDSettings

LENGTH = 5


@pytest.fixture
def bert() -> BERT4Rec:
    torch.manual_seed(0)
    return BERT4Rec(13, IDSettings("bert4rec", 8, LENGTH, 2, 2, 12, 0.0, 0.0)).eval()


def batch(*rows: tuple[list[int], list[int]]) -> IDBatch:
    """Inputs and targets of each window; interaction numbers 10, 11, ... in the first, 20, 21, ... in the second."""
    items, targets = (torch.tensor(part) for part in zip(*rows, strict=True))
    numbers = torch.arange(10, 10 * len(rows) + 1, 10).unsqueeze(1) + torch.arange(items.shape[1])
    return IDBatch(items, targets, numbers.where(items != 0, -1))


def test_every_row_hides_something_and_no_padding() -> None:
    torch.manual_seed(0)
    items = torch.ones(2000, 8, dtype=torch.int64) * (torch.arange(8) < torch.randint(1, 9, (2000, 1)))
    hidden = hide(items, 0.05)
    assert hidden.any(dim=1).all()
    assert not (hidden & (items == 0)).any()


def test_half_of_the_rows_hide_the_last_item_alone_and_the_others_their_share() -> None:
    torch.manual_seed(0)
    hidden = hide(torch.ones(4000, 10, dtype=torch.int64), 0.4)
    last_only = hidden[:, 9] & (hidden.sum(dim=1) == 1)
    assert last_only.float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert hidden[~last_only].float().mean().item() == pytest.approx(0.4, abs=0.02)


def test_an_empty_row_hides_nothing() -> None:
    assert not hide(torch.zeros(3, 4, dtype=torch.int64), 0.5).any()


def hidden_at(monkeypatch: pytest.MonkeyPatch, mask: Tensor) -> list[Tensor]:
    """Hide these positions; the list fills with the rows that were asked about."""
    asked: list[Tensor] = []
    monkeypatch.setattr("idmodels.bert4rec.hide", lambda items, ratio: (asked.append(items), mask)[1])
    return asked


def test_rows_are_the_items_with_the_last_target(bert: BERT4Rec, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.tensor([[False, True, False, True], [False, False, True, False]])
    asked = hidden_at(monkeypatch, mask)
    scored = bert.training_states(batch(([1, 2, 3], [2, 3, 4]), ([5, 6, 0], [6, 7, 0])), bert.item_table())
    assert asked[0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 0]]
    assert scored.targets.tolist() == [2, 4, 7]
    # Only a last item is hidden from a state that has seen nothing after it: it stands after the item before.
    assert scored.rows.tolist() == [-1, 12, 21]


def test_a_row_too_long_by_its_target_loses_its_oldest_item(bert: BERT4Rec, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.zeros(2, LENGTH, dtype=torch.bool)
    mask[0, 4] = mask[1, 2] = True
    asked = hidden_at(monkeypatch, mask)
    rows = ([1, 2, 3, 4, 5], [2, 3, 4, 5, 6]), ([7, 8, 0, 0, 0], [8, 9, 0, 0, 0])
    scored = bert.training_states(batch(*rows), bert.item_table())
    assert asked[0].tolist() == [[2, 3, 4, 5, 6], [7, 8, 9, 0, 0]]
    assert scored.targets.tolist() == [6, 9]
    assert scored.rows.tolist() == [14, 21]


def test_hidden_items_are_not_seen(bert: BERT4Rec, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_at(monkeypatch, torch.tensor([[False, True, False, True]]))
    states = []
    for second, fourth in ((2, 4), (9, 8)):
        given = batch(([1, second, 3], [second, 3, fourth]))
        states.append(bert.training_states(given, bert.item_table()).states)
    assert torch.equal(*states)


def test_both_sides_are_seen(bert: BERT4Rec, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_at(monkeypatch, torch.tensor([[False, True, False, False]]))
    states = []
    for first, third in ((1, 3), (9, 3), (1, 9)):
        given = batch(([first, 2, third], [2, third, 4]))
        states.append(bert.training_states(given, bert.item_table()).states)
    assert not torch.allclose(states[0], states[1], atol=1e-3)
    assert not torch.allclose(states[0], states[2], atol=1e-3)


def test_the_question_takes_the_place_of_the_oldest_item(bert: BERT4Rec) -> None:
    first, other = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[9, 2, 3, 4, 5]])
    length = torch.tensor([5])
    assert torch.equal(bert.last_states(first, length), bert.last_states(other, length))


def test_the_bias_of_an_item_is_part_of_its_vector(bert: BERT4Rec) -> None:
    histories, lengths = torch.tensor([[1, 2, 3]]), torch.tensor([3])
    before = bert.last_states(histories, lengths) @ bert.item_table().T
    with torch.no_grad():
        bert.output_bias[7] += 2.5
    after = bert.last_states(histories, lengths) @ bert.item_table().T
    change = torch.zeros(1, 13)
    change[0, 7] = 2.5
    assert torch.allclose(after - before, change, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_padding_is_not_seen_with_and_without_dropout(bert: BERT4Rec, rate: float) -> None:
    for block in bert.trm_encoder.layer:
        block.multi_head_attention.attention_dropout = rate
    items = torch.tensor([[1, 2, 3, 0, 0]])
    bert.train()  # the path with dropout on the attention weights is taken in training only
    torch.manual_seed(1)
    plain = bert.encode(items)[:, :3]
    table = bert.item_table().detach().clone()
    table[0] = 100.0  # what padding would add if it were looked at
    torch.manual_seed(1)
    assert torch.allclose(plain, bert.encode(items, table)[:, :3], atol=1e-6)
