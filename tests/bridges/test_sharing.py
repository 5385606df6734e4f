import pytest
import torch
from safetensors.torch import load, save

from bridges.errors import BridgeError
from bridges.sharing import ExchangeStore


def test_first_write_is_exact_and_later_ones_are_mixed(put):
    store = ExchangeStore(3, 4, "map", momentum=0.75)
    put(store, "id", "item", torch.tensor([[0.0], [8.0], [-4.0]]))
    assert store.read("id", "item").tolist() == [[0.0], [8.0], [-4.0]]
    put(store, "id", "item", torch.tensor([[0.0], [0.0], [4.0]]), step=2)
    assert store.read("id", "item").tolist() == [[0.0], [6.0], [-2.0]]  # 0.75 old + 0.25 new


def test_momentum_works_row_by_row(store, put):
    put(store, "llm", "user", torch.tensor([[2.0, 4.0]]), [7])
    put(store, "llm", "user", torch.tensor([[4.0, 8.0], [1.0, 1.0]]), [7, 2], step=5)
    assert store.read("llm", "user", torch.tensor([2, 7])).tolist() == [[1.0, 1.0], [3.0, 6.0]]


def test_written_and_staleness_follow_the_stamps(store, put):
    put(store, "llm", "user", torch.ones(2, 3), [4, 6], step=10)
    put(store, "llm", "user", torch.ones(2, 3), [6, 8], step=20)
    assert store.written("llm", "user", torch.tensor([-1, 4, 5, 6, 8])).tolist() == [False, True, False, True, True]
    assert store.written("llm", "user").sum() == 3
    assert store.staleness("llm", "user", now=30) == pytest.approx((20 + 10 + 10) / 3)


def test_an_empty_table_has_nothing(store):
    assert not store.has("id", "user")
    assert store.written("id", "user", torch.tensor([-1, 3])).tolist() == [False, False]
    assert store.written("id", "item").tolist() == [False] * 30
    for act in (lambda: store.read("id", "user"), lambda: store.staleness("id", "user", 3)):
        with pytest.raises(BridgeError, match="id/user was never written"):
            act()


def test_tables_are_those_that_were_written(store, put):
    assert store.tables() == []
    put(store, "llm", "user", torch.ones(1, 2), [3])
    put(store, "id", "item", torch.ones(30, 2))
    assert store.tables() == [("id", "item"), ("llm", "user")]


def test_a_write_of_no_rows_leaves_no_table(store, put):
    put(store, "id", "user", torch.empty(0, 4), [])
    assert not store.has("id", "user")


def test_writes_are_counted_table_by_table(store, put):
    assert store.writes("llm", "text") == 0
    put(store, "llm", "text", torch.ones(30, 48))
    put(store, "llm", "text", torch.ones(30, 48))
    put(store, "id", "item", torch.ones(0, 16), rows=[])
    assert (store.writes("llm", "text"), store.writes("id", "item")) == (2, 0)
    store.load_state_dict(store.state_dict())
    assert store.writes("llm", "text") == 3


def test_reading_what_was_never_written_names_the_row(store, put):
    put(store, "id", "user", torch.ones(1, 2), [3])
    with pytest.raises(BridgeError, match="id/user: row 5 was never written"):
        store.read("id", "user", torch.tensor([3, 5]))
    with pytest.raises(BridgeError, match="rows are 0 to 49, got -1 to 3"):
        store.read("id", "user", torch.tensor([3, -1]))


def test_what_is_read_is_detached_and_keeps_repeats(store, put):
    values = torch.ones(30, 2, requires_grad=True)
    put(store, "id", "item", values * torch.arange(30.0).unsqueeze(1))
    read = store.read("id", "item", torch.tensor([5, 5, 1]))
    assert not read.requires_grad
    assert read[:, 0].tolist() == [5.0, 5.0, 1.0]


def test_another_item_map_is_refused_with_both_names(store):
    with pytest.raises(BridgeError, match="'item-map', not to 'other'"):
        store.write("id", "item", torch.ones(30, 2), step=1, fingerprint="other")
    with pytest.raises(BridgeError, match="'item-map', not to 'other'"):
        store.check("other")
    assert not store.has("id", "item")
    store.check("item-map")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e9])  # 1e9 overflows half precision
def test_only_finite_values_are_exchanged(store, put, bad):
    put(store, "id", "user", torch.ones(2, 2), [11, 17])
    with pytest.raises(BridgeError, match="id/user: row 17 is not finite"):
        put(store, "id", "user", torch.tensor([[1.0, 5.0], [bad, 1.0]]), [11, 17], step=9)
    assert store.read("id", "user", torch.tensor([11, 17])).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert store.staleness("id", "user", now=1) == 0.0


def test_the_first_bad_row_of_a_whole_table_is_named(store, put):
    values = torch.ones(30, 2)
    values[12, 1] = values[20, 0] = torch.nan
    with pytest.raises(BridgeError, match="llm/item: row 12 is not finite"):
        put(store, "llm", "item", values)


def test_shapes_and_names_are_checked(store, put):
    put(store, "id", "item", torch.ones(30, 2))
    wrong = [
        ("width was 2, now 3", "id", "item", torch.ones(30, 3), None),
        ("30 rows are written with values of shape \\(29, 2\\)", "id", "item", torch.ones(29, 2), None),
        ("2 rows are written", "id", "item", torch.ones(1, 2), [3, 4]),
        ("values must be \\[rows, width\\]", "llm", "item", torch.ones(30), None),
        ("a row is named twice", "id", "item", torch.ones(2, 2), [3, 3]),
        ("rows are 0 to 29, got 3 to 30", "id", "item", torch.ones(2, 2), [3, 30]),
        ("rows are 0 to 29, got -1 to 3", "id", "item", torch.ones(2, 2), [3, -1]),
        ("did you mean 'item'", "id", "items", torch.ones(30, 2), None),
        ("unknown side 'lm'; did you mean 'llm'", "lm", "item", torch.ones(30, 2), None),
        ("only the LLM side has text", "id", "text", torch.ones(30, 2), None),
    ]
    for message, side, kind, values, rows in wrong:
        with pytest.raises(BridgeError, match=message):
            put(store, side, kind, values, rows)
    with pytest.raises(BridgeError, match=r"rows must be int64, got torch\.bool"):
        store.read("id", "item", torch.ones(30, dtype=torch.bool))
    with pytest.raises(BridgeError, match="step must not be negative"):
        put(store, "id", "item", torch.ones(30, 2), step=-1)
    with pytest.raises(BridgeError, match="momentum"):
        ExchangeStore(3, 3, "map", momentum=1.0)


def test_state_round_trip_is_bit_for_bit_and_goes_on_alike(full_store, put):
    state = full_store.state_dict()
    state["tensors"] = load(save(state["tensors"]))
    again = ExchangeStore(30, 50, "item-map", momentum=0.5)
    again.load_state_dict(state)
    for step in (3, 4):
        rows, values = torch.randperm(50)[:15].tolist(), torch.randn(15, 12)
        for store in (full_store, again):
            put(store, "llm", "user", values, rows, step=step)
    mine, theirs = full_store.state_dict()["tensors"], again.state_dict()["tensors"]
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) and mine[name].dtype == theirs[name].dtype for name in mine)
    assert again.staleness("llm", "user", 9) == full_store.staleness("llm", "user", 9)


def test_only_written_rows_are_saved(full_store):
    tensors = full_store.state_dict()["tensors"]
    assert tensors["llm.user.values"].shape == (20, 12)
    assert tensors["llm.user.values"].dtype == torch.float16
    assert tensors["llm.item.values"].dtype == torch.float32


def test_loading_replaces_every_table(full_store, store):
    store.load_state_dict(ExchangeStore(30, 50, "item-map", 0.5).state_dict())
    assert not any(store.has(side, kind) for side in ("id", "llm") for kind in ("item", "user"))


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (ExchangeStore(30, 50, "another", 0.5), "'item-map', not to 'another'"),
        (ExchangeStore(30, 51, "item-map", 0.5), "n_rows is 51, expected 50"),
        (ExchangeStore(31, 50, "item-map", 0.5), "n_items is 31, expected 30"),
    ],
)
def test_a_saved_store_of_other_data_is_refused(full_store, saved, message):
    with pytest.raises(BridgeError, match=message):
        full_store.load_state_dict(saved.state_dict())
    assert full_store.has("id", "item")
