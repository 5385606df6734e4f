from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.store_tokens import StoreTokens


def make(store):
    return StoreTokens(store, id_width=16, llm_width=48, embedding_norm=3.0, user_token=True)


def test_tokens_are_projections_of_normalised_store_rows(full_store, context):
    bridge = make(full_store)
    tokens = bridge.fill_slots(context).tokens
    user = full_store.read("id", "user", torch.tensor([3]))
    item = full_store.read("id", "item", torch.tensor([29]))
    torch.testing.assert_close(tokens["user"][:1], bridge.user_projector(F.layer_norm(user, (16,))))
    torch.testing.assert_close(tokens["item"][3:], bridge.item_projector(F.layer_norm(item, (16,))))
    torch.testing.assert_close(tokens["item"][0], tokens["item"][2])  # the same item twice


def test_an_unknown_state_gets_the_learned_vector_and_trains_it(full_store, context):
    bridge = make(full_store)
    user = bridge.fill_slots(context).tokens["user"]
    assert torch.equal(user[1], bridge.unknown_user[0])
    user[1].sum().backward()
    assert bridge.unknown_user.grad.abs().sum() > 0
    assert bridge.user_projector[0].weight.grad.abs().sum() == 0


def test_an_empty_store_makes_everything_unknown(store, context):
    bridge = make(store)
    tokens = bridge.fill_slots(context).tokens
    assert torch.equal(tokens["user"], bridge.unknown_user.expand(3, -1))
    assert torch.equal(tokens["item"], bridge.unknown_item.expand(4, -1))


def test_items_that_were_not_written_and_padding_are_unknown(store, context, put):
    put(store, "id", "item", torch.randn(2, 16), [0, 4])
    bridge = make(store)
    item = bridge.fill_slots(replace(context, item_ids=torch.tensor([0, 4, 5]))).tokens["item"]
    same = [torch.equal(row, bridge.unknown_item[0]) for row in item]
    assert same == [True, False, True]


def test_a_later_write_changes_the_token(full_store, context, put):
    bridge = make(full_store)
    before = bridge.fill_slots(context).tokens
    put(full_store, "id", "user", torch.randn(1, 16), [3], step=2)
    after = bridge.fill_slots(context).tokens
    assert not torch.allclose(before["user"][0], after["user"][0])
    assert torch.equal(before["user"][2], after["user"][2])


def test_tokens_start_as_long_as_embeddings(full_store, context):
    tokens = make(full_store).fill_slots(context).tokens
    torch.testing.assert_close(tokens["item"].norm(dim=-1), torch.full((4,), 3.0), rtol=1e-3, atol=0)
    assert make(full_store).unknown_user.norm().item() == pytest.approx(3.0, rel=0.5)


def test_wrong_sizes_are_refused(full_store, context):
    with pytest.raises(BridgeError, match="id/item is 16 wide, expected 8"):
        StoreTokens(full_store, 8, 48, 3.0, True).fill_slots(context)
    with pytest.raises(BridgeError, match="embedding_norm must be positive"):
        StoreTokens(full_store, 16, 48, 0.0, True)


def test_without_the_users_token_items_alone_are_read(full_store, context) -> None:
    bridge = StoreTokens(full_store, 16, 48, 3.0, user_token=False)
    assert bridge.slots() == {"item": 1}
    assert bridge.reads({"id2llm"}) == {("id", "item")}
    assert set(bridge.fill_slots(context).tokens) == {"item"}
