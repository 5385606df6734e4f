"""ReLLa and RecLoRA: what each does, on a tiny model; and what the presets of the click systems are made of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bridges.semantic_space import semantic_space
from hybrid.config.load import load_config
from hybrid.ctr.prompts import Selected
from hybrid.ctr.scoring import click_rows
from hybrid.ctr.selectors import RecentBehaviours, RetrievedBehaviours
from hybrid.data.clicks import Behaviours, Samples, split_clicks
from hybrid.data.prepare import prepare
from hybrid.errors import UserError
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.runs import create_trainer, train_run
from hybrid.system import text_vectors

OFF = [f"bridges.{name}.enabled=false" for name in ("store", "mformer", "knowledge", "distill")]
RELLA = ("arm=llm_only", "llm.click_prompt.selector=retrieved", "llm.click_prompt.mixed=true")
GATED = (*OFF, "arm=id2llm", "bridges.lora_gate.enabled=true", "llm.lora.kind=gated", "llm.lora.experts=3")


def build(config):
    return create_trainer(config, prepare(config.data))


class Fixed:
    """A selector with one answer for every sample."""

    def __init__(self, *positions):
        self.positions = positions

    def select(self, samples, count):
        return np.tile(self.positions, (len(samples), 1))


# ReLLa


def test_the_mixed_set_has_both_versions_of_each_sample_one_after_the_other():
    behaviours = Behaviours(np.arange(1, 9, dtype=np.int32), np.ones(8, np.int8), np.array([0, 8]))
    numbers = np.array([5, 7, 6])
    samples = Samples(behaviours, numbers * 0, numbers, numbers % 2, numbers * 0, numbers)
    mixed = Selected.both(Fixed(0, 1), Fixed(2, 3), samples, 2)
    assert len(mixed) == 2 * len(samples)
    assert mixed.positions.tolist() == [[0, 1], [2, 3]] * 3
    assert mixed.samples.items.tolist() == [5, 5, 7, 7, 6, 6]
    assert mixed.samples.labels.tolist() == [1, 1, 1, 1, 0, 0]


def test_training_reads_2n_prompts_and_testing_the_retrieved_ones_alone(tiny):
    trainer = build(tiny(*RELLA))
    learner, system = trainer.learners["llm"], trainer.system
    assert len(learner.selected) == 2 * 64
    assert np.array_equal(learner.selected.samples.items[::2], learner.selected.samples.items[1::2])
    samples = learner.selected.samples.take(np.arange(0, 128, 2))
    assert np.array_equal(learner.selected.positions[::2], RecentBehaviours().select(samples, 3))
    assert np.array_equal(learner.selected.positions[1::2], system.selector.select(samples, 3))
    seen = torch.cat([batch.numbers for batch in learner.batches(0, 0)])
    assert sorted(seen.tolist()) == list(range(128))
    assert isinstance(system.llm_scorer().selector, RetrievedBehaviours)
    valid = system.data.valid
    assert len(Selected.by(system.llm_scorer().selector, valid, 3)) == len(valid)


def test_without_mixing_each_sample_is_read_once_as_retrieved(tiny):
    trainer = build(tiny(*RELLA, "llm.click_prompt.mixed=false"))
    learner = trainer.learners["llm"]
    assert len(learner.selected) == 64
    assert np.array_equal(learner.selected.positions, trainer.system.selector.select(learner.selected.samples, 3))


def test_items_are_compared_in_a_space_of_the_train_items(tiny):
    system = build(tiny(*RELLA, rule="late")).system
    vectors = text_vectors(system.config, system.need_llm(), system.data.item_text)
    data = split_clicks(prepare(system.config.data), system.config.data)
    train = data.train_items()
    assert set(train) < set(data.train.behaviours.items) < set(range(1, data.n_items))
    assert np.array_equal(system.selector.vectors, semantic_space(vectors, train, 512))


def test_the_space_has_as_many_dimensions_as_are_asked_for(tiny):
    system = build(tiny(*RELLA, "llm.click_prompt.retrieval_width=3")).system
    assert system.selector.vectors.shape == (system.data.n_items, 3)


def test_an_item_without_text_is_like_no_other_and_lets_no_later_item_in(tiny):
    found = []
    for title in ("C20", "quite another"):  # of an item that only later parts have
        dataset = prepare(tiny(*RELLA, rule="late").data)
        late = dataset.item_ids.index("i20")
        texts = [title if item == late else "" if item == 3 else text for item, text in enumerate(dataset.item_text)]
        system = create_trainer(tiny(*RELLA, rule="late"), replace(dataset, item_text=texts)).system
        train = set(system.data.train_items())
        assert 3 in train
        assert late not in train
        found.append(system.selector.vectors)
    others = np.arange(len(found[0])) != late
    np.testing.assert_allclose(found[0][others], found[1][others], atol=1e-5)  # a batch's rounding
    assert not np.allclose(found[0][late], found[1][late], atol=1e-2)
    assert not found[0][3].any()


def test_mixing_needs_retrieval(tiny):
    with pytest.raises(UserError, match=r"mixed needs selector retrieved"):
        tiny("llm.click_prompt.mixed=true")


def test_rella_runs_zero_shot_and_tuned(tiny):
    tuned = evaluate_run(train_run(tiny(*RELLA, "name=tuned")).path, "test")
    untuned = evaluate_run(train_run(tiny(*RELLA, "name=zero", "train.schedule.llm_length=0")).path, "test")
    assert tuned["samples"] == untuned["samples"] == 35
    assert tuned["sides"]["llm"]["metrics"] != untuned["sides"]["llm"]["metrics"]


# RecLoRA


def gate_weights(system, states):
    """[layers and targets, B, K] of states [B, S]."""
    router = system.need_llm().lm.base_model.router()
    router.eval()
    return torch.stack([router.weights(group, states) for group in router.nets])


def test_the_gate_reads_the_click_models_state_of_each_sample(tiny):
    system = build(tiny(*GATED)).system
    samples, model = system.data.valid.take(np.arange(6)), system.need_id().eval()
    users = system.llm_scorer().gate.users(samples)
    batch = click_rows(samples).batch(np.arange(6), model.settings.max_length)
    assert torch.equal(users, model.user_state(batch).detach())
    assert not users.requires_grad
    nobody = replace(samples, ends=samples.starts)
    assert not system.llm_scorer().gate.users(nobody).any()


def test_gates_differ_between_users_and_are_constant_for_a_constant_state(tiny):
    system = build(tiny(*GATED)).system
    users = system.llm_scorer().gate.users(system.data.valid.take(np.arange(6)))
    assert len(users.unique(dim=0)) == 6
    weights = gate_weights(system, users)
    assert len(weights) == 2 * 2  # a gate of its own for each layer and target
    assert torch.allclose(weights.sum(dim=2), torch.ones(4, 6))
    assert (weights.std(dim=1) > 1e-4).any(dim=1).all()
    constant = gate_weights(system, users.mean(dim=0).expand(6, -1))
    assert (constant == constant[:, :1]).all()
    assert not torch.equal(constant[0], constant[1])


def tuned_scorer(system, seed=0):
    """The language model with an adapter that does something."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in system.need_llm().lm.named_parameters():
        if "lora_B" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    return system.llm_scorer()


def test_the_users_state_changes_what_the_language_model_says(tiny):
    system = build(tiny(*GATED)).system
    scorer, samples = tuned_scorer(system), system.data.valid.take(np.arange(6))
    before = scorer.logits(samples)
    with torch.no_grad():
        system.need_id().item_embedding.weight.mul_(-2)  # other states, the same prompts
    after = scorer.logits(samples)
    assert (np.abs(before - after) > 1e-5).all()


@pytest.mark.parametrize("combine", ["sum_of_products", "product_of_sums"])
def test_with_one_meta_lora_it_is_plain_lora_exactly(tiny, combine):
    gated = build(tiny(*GATED, "llm.lora.experts=1", f"llm.lora.combine={combine}")).system
    plain = build(tiny(*OFF, "arm=id2llm")).system
    adapters = {}
    for system in (plain, gated):
        tuned_scorer(system)
        names = [name for name, _ in system.need_llm().lm.named_parameters() if "lora_A" in name or "lora_B" in name]
        adapters[system is gated] = [dict(system.need_llm().lm.named_parameters())[name] for name in sorted(names)]
    for own, theirs in zip(adapters[True], adapters[False], strict=True):
        own.data.copy_(theirs.data)
    samples = plain.data.valid
    assert np.array_equal(gated.llm_scorer().logits(samples), plain.llm_scorer().logits(samples))


def test_gradients_reach_adapter_and_gates_and_never_the_click_model(tiny):
    trainer = build(tiny(*GATED))
    learner, model = trainer.learners["llm"], trainer.system.need_id()
    tuned_scorer(trainer.system)
    model.requires_grad_(True)  # even then
    learner.wake()
    batch = next(iter(learner.batches(0, 0)))
    learner.losses(batch)["bce"].backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    router = trainer.system.need_llm().lm.base_model.router()
    assert all(parameter.grad.abs().sum() > 0 for net in router.nets.values() for parameter in net[-1].parameters())
    assert learner.parameters
    assert not {id(parameter) for parameter in model.parameters()} & {id(one) for one in learner.parameters}


@pytest.mark.parametrize("kind", ["gated", "block", "dense"])
def test_reclora_trains_after_the_click_model_on_its_own_few_samples(tiny, kind):
    experts = "llm.lora.experts=2"
    run = train_run(
        tiny(*GATED, f"llm.lora.kind={kind}", experts, "train.schedule.rounds=1", "train.id.phase_end=best")
    )
    found = evaluate_run(run.path, "test")
    assert set(found["sides"]) == {"id", "llm"}


def test_split_rank_adds_gates_and_nothing_else(tiny):
    few = "llm.lora.experts=2"
    block = build(
        tiny(*GATED, "llm.lora.kind=block", few, "llm.lora.granularity=model", "llm.lora.gate_width=0")
    ).system
    plain = build(tiny(*OFF, "arm=id2llm")).system
    count = {
        name: sum(p.numel() for p in system.need_llm().trainable_parameters())
        for name, system in (("block", block), ("plain", plain))
    }
    assert count["block"] - count["plain"] == 2 * (block.need_id().state_width + 1)


# Presets of all three


@pytest.mark.parametrize("preset", ["rella", "reclora", "sample_efficient"])
def test_presets_load_and_build_on_a_tiny_model(tiny, preset):
    config = tiny()
    places = [f"data.dataset={config.data.dataset}", f"data.cache_dir={config.data.cache_dir}", "llm.num_layers=0"]
    system = build(load_config(None, [f"preset={preset}", "llm.name=tiny-random", *places])).system
    assert isinstance(system.selector, RetrievedBehaviours) == (preset != "sample_efficient")
    assert (
        set(system.exchange.bridges)
        == {
            "rella": set(),
            "reclora": {"lora_gate"},
            "sample_efficient": {"knowledge_adapter"},
        }[preset]
    )


def preset_config(name):
    return load_config(None, [f"preset={name}"])


def test_rella_tunes_on_recent_and_retrieved_behaviours():
    config = preset_config("rella")
    assert (config.task, config.arm) == ("ctr", "llm_only")
    prompt = config.llm.click_prompt
    assert (prompt.selector, prompt.mixed, prompt.retrieval_width) == ("retrieved", True, 512)
    assert (config.llm.tune, config.llm.lora.kind) == ("lora", "plain")
    assert set(config.llm.lora.targets) == {"q_proj", "v_proj"}
    assert config.train.schedule.llm_length > 0
    assert config.train.llm.samples > 0


def test_reclora_gates_each_module_by_a_click_model_that_learned_first_and_is_kept_at_its_best():
    config = preset_config("reclora")
    assert (config.task, config.arm) == ("ctr", "id2llm")
    lora = config.llm.lora
    assert (lora.kind, lora.granularity, lora.combine) == ("gated", "module", "sum_of_products")
    assert set(lora.targets) == {"q_proj", "v_proj"}
    assert lora.experts > 1
    schedule, train = config.train.schedule, config.train
    assert (schedule.rounds, schedule.first, train.id.phase_end) == (1, "id", "best")
    assert train.id.samples == 0  # all
    assert train.llm.samples > 0
    assert config.llm.click_prompt.selector == "retrieved"
    assert config.click.max_length > config.llm.click_prompt.behaviours


def test_sample_efficient_has_a_whole_language_model_that_writes_and_never_learns():
    config = preset_config("sample_efficient")
    assert (config.task, config.arm) == ("ctr", "llm2id")
    assert config.train.schedule.llm_length == 0
    assert not config.evaluation.untrained
    assert config.llm.num_layers == 0
    adapter = config.bridges.knowledge_adapter
    assert (adapter.shared_experts, adapter.specific_experts, adapter.width) == (2, 5, 32)


def test_a_sequential_model_with_a_graph_has_that_of_the_train_part(tiny):
    system = build(tiny("arm=id_only", "id.model=lightgcn")).system
    graph, train = system.id_model.model, system.data.train_part()
    assert graph.popularity.tolist() == np.bincount(train.items, minlength=system.data.n_items).tolist()
    assert not torch.equal(graph.item_table(), graph.item_embedding.weight)
