"""Items as histories: each item's vector is the suffix state of its own prompt, soft tokens included."""

import numpy as np
import pytest
import torch

from hybrid.data.prepare import prepare
from hybrid.data.split import Histories, Targets, split_training
from hybrid.evaluation.rankers import LLMRanker
from hybrid.item_histories import encode_histories
from hybrid.modes import inference
from hybrid.system import build_system

RAW = ("llm.item_pooling=history", "llm.whiten_width=0", "llm.scorer.width=0", "bridges.store.enabled=false")


@pytest.fixture
def make_system(tiny):
    def make(*overrides):
        config = tiny("arm=id2llm", *overrides)
        return build_system(config, split_training(prepare(config.data), config.data))

    return make


def encode(system):
    return encode_histories(system.recommender, system.exchange, system.prompts, system.data.n_items)


def test_an_item_is_read_as_a_user_who_has_only_it(make_system):
    system = make_system(*RAW)
    vectors = encode(system)
    n = system.data.n_items - 1
    users, ends = np.zeros(n, dtype=np.int64), np.arange(1, n + 1)
    histories = Histories(np.arange(1, n + 1), ends - 1, ends)
    ranker = LLMRanker(system.recommender, system.exchange, system.prompts, system.device)
    states = ranker.user_states(Targets(users, np.ones(n, dtype=np.int64), histories))
    cosine = torch.nn.functional.normalize(vectors[1:], dim=1) / system.config.llm.scorer.temperature
    torch.testing.assert_close(states, cosine)
    torch.testing.assert_close(vectors[0], vectors[1:].mean(dim=0))


@pytest.mark.parametrize("part", ["suffix", "prefix", "id"])
def test_item_vectors_follow_every_weight_that_learns(make_system, part):
    system = make_system(*RAW)
    before = encode(system)
    mformer = system.exchange.bridges["mformer"]
    moved = {
        "suffix": system.recommender.suffix,
        "prefix": mformer.experts,
        "id": system.id_model.item_embedding.weight,
    }
    with torch.no_grad():
        moved[part].add_(torch.randn_like(moved[part]))
    system.exchange.refresh()
    assert (encode(system) != before).any(dim=1).all()


def test_the_system_scores_with_them(make_system):
    system = make_system(*RAW)
    system.encode_items(0)
    expected = torch.nn.functional.normalize(encode(system), dim=1)
    torch.testing.assert_close(system.recommender.item_matrix(), expected)


def test_a_plain_soft_prefix_stands_where_no_bridge_writes_one(make_system):
    system = make_system(*RAW, "bridges.mformer.enabled=false", "llm.prompt.prefix_tokens=3")
    assert system.prompts.layout.prefix == 3
    prefix = system.recommender.prefix
    assert any(parameter is prefix for parameter in system.recommender.trainable_parameters())
    batch = next(system.prompts.epoch(0))
    states = system.recommender.states(batch, system.exchange.fill(batch).tokens)
    states.sum().backward()
    assert prefix.grad.abs().sum(dim=1).min() > 0
    with inference(system.recommender):
        prefix += 1
        moved = system.recommender.states(batch, system.exchange.fill(batch).tokens)
    assert (moved != states).any(dim=1).all()
    assert make_system(*RAW, "llm.prompt.prefix_tokens=3").recommender.prefix is None  # the M-Former writes it


def test_the_prefix_changes_the_answer_and_its_gradient_reaches_the_mformer_only(make_system):
    system = make_system(*RAW, "llm.tune=none")
    system.encode_items(0)
    recommender, mformer = system.recommender, system.exchange.bridges["mformer"]
    batch = next(system.prompts.epoch(0))
    tokens = system.exchange.fill(batch).tokens
    states = recommender.states(batch, tokens)
    moved = recommender.states(batch, {"prefix": tokens["prefix"] + 1.0})
    assert (moved != states).any(dim=1).all()
    (recommender.user_states(states) @ recommender.item_matrix().T)[:, 1].sum().backward()
    assert mformer.experts.grad.abs().sum() > 0
    assert mformer.router.linear.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in system.id_model.parameters())
    assert all(weight.grad is None for weight in recommender.lm.parameters())


def test_a_frozen_model_is_saved_without_an_adapter_and_loads_again(make_system, tmp_path):
    system, other = (make_system(*RAW, "llm.tune=none", f"seed={seed}") for seed in (1, 2))
    system.encode_items(0)
    system.recommender.save(tmp_path / "llm")
    assert {path.name for path in (tmp_path / "llm").iterdir()} == {"scorer.safetensors"}
    other.recommender.scorer.item_vectors.zero_()
    other.recommender.backbone.fingerprint = system.recommender.backbone.fingerprint
    other.recommender.load(tmp_path / "llm")
    assert torch.equal(other.recommender.item_matrix(), system.recommender.item_matrix())
