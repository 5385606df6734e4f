"""SIM finds what matters in a long history."""

import pytest
import torch
from torch import Tensor

from idmodels.click import ClickBatch
from idmodels.click_settings import ClickSettings
from idmodels.errors import IDModelError
from idmodels.sim import SIM

N_ITEMS, LENGTH = 41, 512
CATEGORIES = torch.cat([torch.zeros(31), torch.arange(5) + 1, torch.arange(5) + 1]).long().unsqueeze(1)


def _make(**changes: object) -> SIM:
    torch.manual_seed(0)
    sizes = {"width": 16, "max_length": LENGTH, "found_items": 8, "recent_items": 4}
    widths = {"attention_widths": (16,), "hidden_widths": (32,)}
    return SIM(N_ITEMS, ClickSettings(model="sim", **(sizes | widths | changes)), CATEGORIES)


def _batch(histories: Tensor, lengths: Tensor, targets: Tensor, labels: Tensor | None = None) -> ClickBatch:
    zeros = torch.zeros_like(targets)
    labels = zeros if labels is None else labels
    return ClickBatch(zeros, histories, torch.zeros_like(histories), lengths, targets, labels)


def _find(model: SIM, batch: ClickBatch) -> tuple[Tensor, Tensor]:
    return model.find(model.item_table().detach(), batch)


def _planted(rows: int, generator: torch.Generator) -> tuple[ClickBatch, Tensor]:
    """512 behaviours; one of them, 500 steps back or a little more, is the partner of the target where it is clicked.

    Targets are items 31 to 35, their partners 36 to 40; without a click it is another target's partner.
    """
    histories = torch.randint(1, 31, (rows, LENGTH), generator=generator)
    targets = torch.randint(31, 36, (rows,), generator=generator)
    labels = torch.randint(0, 2, (rows,), generator=generator)
    others = (targets - 31 + torch.randint(1, 5, (rows,), generator=generator)) % 5 + 31
    places = LENGTH - 500 - torch.randint(0, 12, (rows,), generator=generator)
    histories[torch.arange(rows), places] = torch.where(labels == 1, targets, others) + 5
    return _batch(histories, torch.full((rows,), LENGTH), targets, labels), places


def _auc_and_hits(model: SIM, steps: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model.train().loss(_planted(64, generator)[0]).backward()
        optimizer.step()
    batch, places = _planted(400, generator)
    labels = batch.labels
    positions, real = _find(model.eval(), batch)
    hits = ((positions == places.unsqueeze(1)) & real).any(dim=1)[labels == 1]
    with torch.no_grad():
        logits = model.logits(batch)
    auc = (logits[labels == 1].unsqueeze(1) > logits[labels == 0]).double().mean().item()
    return auc, hits.double().mean().item()


def test_soft_search_learns_to_find_a_behaviour_500_steps_back() -> None:
    auc, hits = _auc_and_hits(_make(), steps=150)
    assert auc > 0.95
    assert hits > 0.75
    # It is the search's own loss that does it.
    auc, hits = _auc_and_hits(_make(search_weight=0.0), steps=150)
    assert auc < 0.8
    assert hits < 0.25


def test_hard_search_finds_it_by_category() -> None:
    auc, hits = _auc_and_hits(_make(search="hard"), steps=40)
    assert auc > 0.99
    assert hits == 1.0


def test_untrained_soft_search_finds_the_target_itself() -> None:
    model = _make(found_items=2).eval()
    histories = torch.randint(1, 31, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    histories[0, 12] = 35
    positions, real = _find(model, _batch(histories, torch.tensor([LENGTH]), torch.tensor([35])))
    assert 12 in positions[0].tolist()
    assert real.all()


def test_found_by_hand() -> None:
    # Category 1 holds items 31 and 36; the last two of its three behaviours, in time order, none beyond the length.
    model = _make(search="hard", found_items=2).eval()
    histories = torch.tensor([[31, 36, 5, 31, 32, 36], [5, 6, 36, 7, 0, 0], [5, 6, 7, 8, 0, 0]])
    positions, real = _find(model, _batch(histories, torch.tensor([5, 4, 4]), torch.tensor([36, 31, 31])))
    assert positions[0].tolist() == [1, 3]
    assert real[0].tolist() == [True, True]
    assert positions[1][real[1]].tolist() == [2]
    assert not real[2].any()


def test_soft_search_keeps_the_largest_inner_products() -> None:
    model = _make(found_items=3).eval()
    history = torch.randperm(40, generator=torch.Generator().manual_seed(5)).unsqueeze(0) + 1
    table = model.item_table().detach()
    scores = table[history[0, :30]] @ table[9]
    positions, real = _find(model, _batch(history, torch.tensor([30]), torch.tensor([9])))
    assert positions[0].tolist() == scores.topk(3).indices.sort().values.tolist()
    assert real.all()


def test_how_far_back_it_stands_is_seen() -> None:
    model = _make(recent_items=1).eval()
    early, late = torch.randint(1, 31, (2, 1, 64), generator=torch.Generator().manual_seed(0)).unbind()
    early, late = late.clone(), late.clone()
    early[0, 3], late[0, 60] = 36, 36
    inputs = torch.tensor([64]), torch.tensor([36])
    assert not torch.allclose(*(model.user_state(_batch(history, *inputs)) for history in (early, late)), atol=1e-5)


def test_categories_that_do_not_fit() -> None:
    settings = ClickSettings(model="sim", search="hard")
    with pytest.raises(IDModelError, match="needs item_categories"):
        SIM(5, settings)
    with pytest.raises(IDModelError, match=r"item_categories must be \[5 items, categories\], got \[3, 1\]"):
        SIM(5, settings, torch.ones(3, 1).long())


def test_one_shared_category_is_enough_and_no_category_is_none_shared() -> None:
    categories = torch.tensor([[0, 0], [1, 2], [2, 0], [3, 1], [3, 0], [0, 0], [0, 0]])
    model = SIM(7, ClickSettings(model="sim", search="hard", width=8, found_items=3, max_length=5), categories)
    histories = torch.tensor([[2, 3, 4, 5, 1], [5, 6, 5, 6, 2]])
    positions, real = _find(model, _batch(histories, torch.tensor([5, 5]), torch.tensor([1, 5])))
    assert positions[0][real[0]].tolist() == [0, 1, 4]
    assert not real[1].any()
