"""Devices by name, and which model makes the item vectors."""

import pytest
import torch

from hybrid.config.load import load_config
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.llm.backbone import load_backbone
from hybrid.runs import train_run
from hybrid.system import build_system, choose_device
from idmodels.saved import load_id_model


@pytest.mark.parametrize("name", ["mps", "meta", "xpu:0", "tpu", "", "cuda:", "cuda:x", "cuda:300", "cpu cuda"])
def test_other_devices_are_refused_with_what_is_accepted(name):
    with pytest.raises(UserError, match=r"^device: .* is not supported; accepted: auto, cpu, cuda, cuda:N$"):
        choose_device(name)


def test_cuda_is_taken_where_it_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="cuda:2 is not there; 2 CUDA devices are"):
        choose_device("cuda:2")


def test_a_cut_model_can_read_the_vectors_of_the_whole_one(tiny):
    def vectors(*settings):
        config = tiny("arm=llm_only", "llm.prompt.items=vectors", *settings)
        system = build_system(config, split_training(prepare(config.data), config.data))
        state = torch.get_rng_state()
        found = system.item_vectors()
        assert torch.equal(torch.get_rng_state(), state)  # the run is drawn as it would be without
        return found

    whole, kept = vectors("llm.num_layers=0"), vectors("llm.num_layers=1")
    assert not torch.allclose(whole, kept, atol=0.01)
    assert torch.equal(vectors("llm.num_layers=1", "llm.item_layers=all"), whole)
    assert torch.equal(vectors("llm.num_layers=0", "llm.item_layers=all"), whole)


def test_the_whole_model_is_loaded_once(tiny, monkeypatch):
    config = tiny("arm=llm_only", "llm.prompt.items=vectors", "llm.num_layers=1", "llm.item_layers=all")
    system = build_system(config, split_training(prepare(config.data), config.data))
    loaded = []
    monkeypatch.setattr("hybrid.system.load_backbone", lambda *given: loaded.append(given) or load_backbone(*given))
    for step in range(3):
        system.encode_items(step)
    assert len(loaded) == 1


def test_vectors_of_items_as_histories_follow_the_tuning(tiny):
    config = tiny("arm=llm_only", "llm.prompt.items=vectors", "llm.item_pooling=history")
    assert not build_system(config, split_training(prepare(config.data), config.data)).texts_fixed


@pytest.mark.parametrize(
    "settings",
    [["llm.prompt.items=titles"], ["llm.item_pooling=suffix"], ["llm.item_encoder=all-minilm-l6-v2"]],
)
def test_vectors_that_follow_the_tuning_are_of_the_kept_layers(settings):
    with pytest.raises(UserError, match="llm: item_layers=all"):
        load_config(None, ["llm.item_layers=all", "llm.prompt.items=vectors", *settings])


def test_a_graph_model_that_is_loaded_to_fill_prompts_is_what_it_was_in_training(tiny):
    config = tiny("arm=id2llm", "id.model=lightgcn", "train.schedule.rounds=1", "train.id.phase_end=best")
    run = train_run(config)
    loaded = build_system(config, split_training(prepare(config.data), config.data))
    loaded.load(run.best_llm)
    trained = load_id_model(run.best_id)[0].item_table()
    unsmoothed = loaded.need_id().own_table()
    assert not torch.allclose(unsmoothed, trained, atol=0.01)
    torch.testing.assert_close(loaded.need_id().item_table(), trained)
    assert loaded.need_id().popularity is not None


ATTENDED = ("bridges.attended_history.enabled=true", "llm.prompt.history_items=4", "llm.prompt.targets_per_prompt=2")


def test_the_llm_reads_what_the_id_model_attends_to_once_that_has_written(tiny):
    config = tiny(*ATTENDED)
    system = build_system(config, data := split_training(prepare(config.data), config.data))
    store, ones = system.exchange.store, -torch.ones(len(data.train.items), 1)
    user = int(data.train.lengths.argmax())
    history = data.train.row(user).tolist()

    def read():
        """What is read of the longest history."""
        (batch,) = system.prompts.target_batches(data.valid)
        prompt = batch.users.tolist().index(user)
        return batch.item_ids[batch.item_index[0] == prompt].tolist()

    assert read() == history[-4:]
    store.write("id", "item", torch.arange(data.n_items)[:, None].float(), step=1, fingerprint=data.fingerprint)
    assert read() == history[-4:]
    store.write("id", "user", ones, step=1, fingerprint=data.fingerprint)
    lowest = sorted(history[:-2])[:2]  # these have the largest product with a state of -1
    assert read() == [*(item for item in history[:-2] if item in lowest), *history[-2:]] != history[-4:]


def test_attention_crosses_to_the_llm_only_and_by_another_users_states_where_these_are_permuted(tiny):
    config = tiny("controls.id_states=permuted", *ATTENDED)
    data = split_training(prepare(config.data), config.data)
    exchange, n_rows = build_system(config, data).exchange, len(data.train.items)
    exchange.store.write("id", "item", torch.ones(data.n_items, 1), step=1, fingerprint=data.fingerprint)
    exchange.store.write("id", "user", torch.arange(n_rows)[:, None].float(), step=1, fingerprint=data.fingerprint)
    rows = torch.tensor([3])
    other = exchange.other_users.rows(rows)
    assert exchange.attention(rows, torch.ones(1, 1, dtype=torch.long)).item() == other.item() != rows.item()
    assert build_system(tiny("arm=llm2id", *ATTENDED), data).exchange.attention is None
    assert build_system(tiny(), data).exchange.attention is None


def test_attention_is_refused_with_a_model_that_has_no_states_inside_a_history(tiny):
    config = tiny(*ATTENDED, "id.model=bert4rec")
    data = split_training(prepare(config.data), config.data)
    with pytest.raises(UserError, match=r"bert4rec has a state after each user's last item only"):
        build_system(config, data)
