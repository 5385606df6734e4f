import pytest
import torch

from bridges.errors import BridgeError
from bridges.knowledge import KnowledgeFeatures
from bridges.sharing import ExchangeStore
from bridges.whitening import Whitening


def make(store, projection="linear", components=10, n_items=30):
    return KnowledgeFeatures(store, n_items, id_width=16, llm_width=48, components=components, projection=projection)


@pytest.fixture(params=["linear", "mlp", "gated"])
def bridge(request, full_store):
    made = make(full_store, request.param)
    made.refresh()
    return made


def test_nothing_until_the_store_has_text(store):
    bridge = make(store)
    bridge.refresh()
    assert bridge.item_features() is None


def test_features_are_the_projection_of_the_whitened_text(full_store):
    bridge = make(full_store)
    bridge.refresh()
    text = full_store.read("llm", "text")
    z = Whitening.fit(text, 10).apply(text)
    assert torch.equal(bridge.z, z)
    torch.testing.assert_close(bridge.item_features(), z @ bridge.projection.weight.T)


def test_padding_row_is_exactly_zero(bridge):
    features = bridge.item_features()
    assert features.shape == (30, 16)
    assert torch.equal(features[0], torch.zeros(16))
    assert (features[1:].abs().sum(dim=1) > 0).all()


def test_gradient_reaches_the_projection_only(bridge):
    bridge.item_features().square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in bridge.parameters())
    assert not bridge.z.requires_grad


@pytest.mark.parametrize("projection", ["linear", "mlp", "gated"])
def test_features_start_as_small_as_item_embeddings(projection, put):
    store = ExchangeStore(400, 1, "map", 0.5)
    put(store, "llm", "text", 5 + 3 * torch.randn(400, 48))
    bridge = make(store, projection, components=40, n_items=400)
    bridge.refresh()
    assert bridge.item_features()[1:].std().item() == pytest.approx(0.02, rel=0.15)


def test_the_basis_is_kept_when_vectors_are_encoded_again(full_store, put):
    bridge = make(full_store)
    bridge.refresh()
    basis, z = bridge.whitening.basis.clone(), bridge.z.clone()
    put(full_store, "llm", "text", torch.randn(30, 48), step=2)
    bridge.refresh()
    assert torch.equal(bridge.whitening.basis, basis)
    assert not torch.allclose(bridge.z, z)
    expected = (full_store.read("llm", "text") - bridge.whitening.mean)[1:] @ basis
    torch.testing.assert_close(bridge.z[1:], expected)


def test_state_holds_everything(full_store, store, put):
    bridge = make(full_store, "mlp")
    bridge.refresh()
    again = make(store, "mlp")
    again.load_state_dict(bridge.state_dict())
    assert torch.equal(again.item_features(), bridge.item_features())
    put(store, "llm", "text", full_store.read("llm", "text"))
    again.refresh()  # fits nothing anew
    assert torch.equal(again.item_features(), bridge.item_features())


def test_an_unfitted_state_gives_no_features(full_store, store):
    bridge = make(full_store)
    bridge.refresh()
    bridge.load_state_dict(make(store).state_dict())
    assert bridge.item_features() is None


def test_sizes_are_known_before_the_data(store):
    assert make(store, components=256).z.shape == (30, 28)  # 29 centred vectors span 28 directions


def test_wrong_input_is_refused(full_store):
    bridge = KnowledgeFeatures(full_store, 30, 16, 40, 10, "linear")
    with pytest.raises(BridgeError, match="llm/text is \\[30, 48\\], expected \\[30, 40\\]"):
        bridge.refresh()
    with pytest.raises(BridgeError, match="unknown projection 'linea'; did you mean 'linear'"):
        make(full_store, "linea")
