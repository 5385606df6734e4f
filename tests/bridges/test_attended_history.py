"""How much a user attends to the items of a history."""

import torch

from bridges.attended_history import AttendedHistory


def test_attention_is_the_inner_product_of_state_and_items(full_store):
    rows, items = torch.tensor([3, -1, 19, 40]), torch.randint(1, 30, (4, 6))
    found = AttendedHistory(full_store).attention(rows, items)
    states, table = full_store.read("id", "user", torch.tensor([3, 19])), full_store.read("id", "item")
    for place, state in ((0, states[0]), (2, states[1])):
        torch.testing.assert_close(found[place], torch.stack([table[item] @ state for item in items[place]]))
    assert found[[1, 3]].isnan().all()  # nobody, and one of whom nothing was written


def test_nothing_is_known_before_the_id_side_has_written(store):
    assert AttendedHistory(store).attention(torch.tensor([3]), torch.ones(1, 2, dtype=torch.long)) is None


def test_it_asks_for_both_id_tables(store):
    assert AttendedHistory(store).reads({"id2llm"}) == {("id", "user"), ("id", "item")}
