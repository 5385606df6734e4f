"""Substitutions by the LLM's ranking: what it ranks high where an item was chosen, and there alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bridges.errors import BridgeError
from bridges.sharing import ExchangeStore
from bridges.substitution import Substitutions

N_ITEMS, N_ROWS = 40, 7
ITEMS = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
TARGETS = torch.tensor([[2, 3, 4, 8], [6, 7, 0, 0]])
ROWS = torch.tensor([[0, 1, 2, 3], [5, 6, -1, -1]])
HIGH = {row: [10 + 4 * row + place for place in range(3)] for row in range(N_ROWS)}
"""The LLM's three best items after each train interaction, no two of them the same."""
SETTINGS = {"source": "ranking", "longest": 0, "neighbours": 3, "temperature": 0.3, "components": 16}


def states() -> Tensor:
    """User states [N_ROWS, N_ITEMS]: the score of each item, as the item matrix is the unit matrix."""
    scores = torch.zeros(N_ROWS, N_ITEMS)
    for row, high in HIGH.items():
        scores[row, high] = torch.tensor([3.0, 2.5, 2.0])
    return scores


@pytest.fixture
def write(put: Callable[..., None]) -> Callable[..., ExchangeStore]:
    """A store in which the LLM's states of these rows (none: of all) are written."""

    def make(scores: Tensor, rows: list[int] | None = None) -> ExchangeStore:
        store = ExchangeStore(N_ITEMS, N_ROWS, "map", momentum=0.0)
        put(store, "llm", "item", torch.eye(N_ITEMS))
        put(store, "llm", "user", scores if rows is None else scores[rows], rows)
        return store

    return make


def make(store: ExchangeStore, share: float = 1.0, **settings: float) -> Substitutions:
    bridge = Substitutions(store, N_ITEMS, 48, share=share, **SETTINGS | settings)
    bridge.refresh()
    return bridge


def draws(bridge: Substitutions, count: int = 200) -> Tensor:
    """[count, 2, 4] inputs with their substitutes."""
    return torch.stack([bridge.histories(ITEMS, TARGETS, ROWS) for _ in range(count)])


def test_an_item_becomes_one_that_the_llm_ranked_high_just_before_it_was_chosen(
    write: Callable[..., ExchangeStore],
) -> None:
    found = draws(make(write(states())))
    for row, place, before in ((0, 1, 0), (0, 2, 1), (0, 3, 2), (1, 1, 5)):
        assert set(found[:, row, place].tolist()) == set(HIGH[before])
    assert (found[:, :, 0] == ITEMS[:, 0]).all()  # chosen before anything that the row knows
    assert not found[:, 1, 2:].any()


def test_shares_are_a_softmax_of_cosines(write: Callable[..., ExchangeStore]) -> None:
    found = draws(make(write(states())), 4000)[:, 0, 2]
    shares = (torch.tensor([3.0, 2.5, 2.0]) / torch.tensor([3.0, 2.5, 2.0]).norm() / 0.3).softmax(dim=0)
    for item, share in zip(HIGH[1], shares.tolist(), strict=True):
        assert (found == item).float().mean().item() == pytest.approx(share, abs=0.04)


def test_cosines_do_not_depend_on_lengths_but_the_ranking_does(
    write: Callable[..., ExchangeStore], put: Callable[..., None]
) -> None:
    store = write(states())
    put(store, "llm", "item", torch.diag(torch.ones(N_ITEMS).index_fill(0, torch.tensor([20]), 100.0)))
    put(store, "llm", "user", torch.full((1, N_ITEMS), 1.0), [1])  # the long item first, the others alike
    assert (draws(make(store, neighbours=1))[:, 0, 2] == 20).all()
    found = draws(make(store, neighbours=N_ITEMS - 1), 2000)[:, 0, 2]
    others = N_ITEMS - 1 - 5  # all but the user's five, each as likely as the long one
    assert (found == 20).float().mean().item() == pytest.approx(1 / others, abs=0.02)


def test_nothing_that_the_user_has_in_the_row_is_proposed_nor_what_is_asked_for(
    write: Callable[..., ExchangeStore],
) -> None:
    scores = states()
    scores[:, [0, *range(1, 9)]] = 9.0  # padding, all items and targets of both users
    found = draws(make(write(scores), neighbours=1))
    assert set(found[:, 0, 1:].flatten().tolist()) <= {5, 6, 7}  # the other user's
    assert set(found[:, 1, 1].tolist()) <= {1, 2, 3, 4, 8}


def test_an_item_stays_where_the_llm_has_nothing_else_to_propose() -> None:
    store = ExchangeStore(6, 3, "map", momentum=0.0)
    store.write("llm", "item", torch.eye(6), step=1, fingerprint="map")
    store.write("llm", "user", torch.rand(3, 6), step=1, fingerprint="map")
    bridge = Substitutions(store, 6, 48, share=1.0, **SETTINGS)
    bridge.refresh()
    items, targets = torch.tensor([[1, 2, 3], [1, 2, 3]]), torch.tensor([[2, 3, 4], [2, 3, 5]])
    rows = torch.arange(3).expand(2, -1)
    assert {tuple(bridge.histories(items, targets, rows)[0].tolist()) for _ in range(20)} == {(1, 5, 5)}
    items = torch.tensor([[1, 2, 3, 4]])
    assert torch.equal(bridge.histories(items, items + 1, torch.tensor([[0, 1, 2, -1]])), items)


def test_positions_without_a_state_stay(write: Callable[..., ExchangeStore]) -> None:
    changed = draws(make(write(states(), [1, 3, 6])), 1)[0] != ITEMS
    assert changed.tolist() == [[False, False, True, False], [False] * 4]


def test_nothing_happens_and_nothing_is_drawn_before_the_llm_has_written(
    write: Callable[..., ExchangeStore], put: Callable[..., None]
) -> None:
    empty = ExchangeStore(N_ITEMS, N_ROWS, "map", momentum=0.0)
    bridge, before = make(empty), torch.get_rng_state()
    assert torch.equal(draws(bridge, 1)[0], ITEMS)
    put(empty, "llm", "item", torch.eye(N_ITEMS))
    bridge.refresh()
    assert torch.equal(draws(bridge, 1)[0], ITEMS)
    assert torch.equal(torch.get_rng_state(), before)
    put(empty, "llm", "user", states())
    bridge.refresh()
    assert not torch.equal(draws(bridge, 1)[0], ITEMS)


def test_the_newest_ranking_is_read(write: Callable[..., ExchangeStore], put: Callable[..., None]) -> None:
    store = write(states())
    bridge = make(store)
    draws(bridge, 1)
    put(store, "llm", "item", torch.eye(N_ITEMS).roll(1, 0))  # every item now has the scores of the one before it
    put(store, "llm", "user", states())
    bridge.refresh()
    assert set(draws(bridge)[:, 0, 1].tolist()) == {item + 1 for item in HIGH[0]}


def test_with_share_0_nothing_happens_and_nothing_is_read(write: Callable[..., ExchangeStore]) -> None:
    bridge = make(write(states()), share=0.0)
    assert torch.equal(draws(bridge, 1)[0], ITEMS)
    assert bridge.reads({"llm2id"}) == set()


def test_the_share_is_of_the_places_that_have_substitutes(write: Callable[..., ExchangeStore]) -> None:
    changed = (draws(make(write(states()), share=0.3), 1000) != ITEMS).float().mean(dim=0)
    expected = torch.tensor([[0.0, 0.3, 0.3, 0.3], [0.0, 0.3, 0.0, 0.0]])
    assert torch.allclose(changed, expected, atol=0.07)


def test_long_histories_stay_where_short_ones_alone_are_meant(write: Callable[..., ExchangeStore]) -> None:
    changed = draws(make(write(states()), longest=2), 1)[0] != ITEMS
    assert changed.tolist() == [[False] * 4, [False, True, False, False]]


def test_chunks_change_nothing(write: Callable[..., ExchangeStore], monkeypatch: pytest.MonkeyPatch) -> None:
    bridge, drawn = make(write(states())), []
    for most in (2**25, N_ITEMS):
        monkeypatch.setattr("bridges.candidates.MAX_ELEMENTS", most)
        torch.manual_seed(1)
        drawn.append(draws(bridge, 5))
    assert torch.equal(*drawn)


def test_it_reads_the_llms_scores_and_no_texts(write: Callable[..., ExchangeStore]) -> None:
    bridge = make(write(states()))
    assert bridge.reads({"llm2id"}) == {("llm", "user"), ("llm", "item")}
    assert bridge.reads({"id2llm"}) == set()


@pytest.mark.parametrize("setting", [{"neighbours": 0}, {"temperature": 0.0}])
def test_settings_out_of_range_are_refused(store: ExchangeStore, setting: dict[str, float]) -> None:
    with pytest.raises(BridgeError, match=r"neighbours \d and temperature .* must be positive"):
        make(store, **setting)
