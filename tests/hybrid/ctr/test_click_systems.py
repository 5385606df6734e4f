"""ReLLa, RecLoRA and the sample-efficient Laser: what each does, on a tiny model."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bridges.knowledge_adapter import KnowledgeAdapter
from bridges.semantic_space import semantic_space
from hybrid import curve_runs
from hybrid.cli import main
from hybrid.config.load import load_config
from hybrid.ctr.knowledge import knowledge_texts
from hybrid.ctr.prompts import Selected
from hybrid.ctr.scoring import click_rows
from hybrid.ctr.selectors import RecentBehaviours, RetrievedBehaviours
from hybrid.data.clicks import Behaviours, Samples, split_clicks
from hybrid.data.prepare import prepare
from hybrid.errors import UserError
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.llm.backbone import Backbone
from hybrid.llm.recommender import LLMRecommender
from hybrid.runs import create_trainer, train_run
from hybrid.system import text_vectors

OFF = [f"bridges.{name}.enabled=false" for name in ("store", "mformer", "knowledge", "distill")]
RELLA = ("arm=llm_only", "llm.click_prompt.selector=retrieved", "llm.click_prompt.mixed=true")
GATED = (*OFF, "arm=id2llm", "bridges.lora_gate.enabled=true", "llm.lora.kind=gated", "llm.lora.experts=3")
WRITTEN = (
    *OFF,
    "arm=llm2id",
    "bridges.knowledge_adapter.enabled=true",
    "bridges.knowledge_adapter.history_items=2",
    "bridges.knowledge_adapter.new_tokens=4",
    "bridges.knowledge_adapter.components=4",
    "bridges.knowledge_adapter.hidden=8",
    "bridges.knowledge_adapter.width=4",
    "train.schedule.llm_length=0",
    "evaluation.untrained=false",
)

BARE = ('bridges.knowledge_adapter.user_request="{history}"', 'bridges.knowledge_adapter.item_request="{item}"')


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


# The sample-efficient Laser


def test_users_are_described_by_their_first_train_behaviours_alone(tiny, monkeypatch):
    asked = []

    def record(backbone, prompts, new_tokens, cache_dir, what):
        asked.append(backbone.tokenizer.batch_decode(prompts))
        return ["" if not len(prompt) else "words" for prompt in prompts]

    monkeypatch.setattr("hybrid.ctr.knowledge.write_knowledge", record)
    config = tiny(*WRITTEN, 'bridges.knowledge_adapter.user_request="{history}"', rule="late")
    trainer = build(config)
    system = trainer.system
    users, items = knowledge_texts(config, system.need_llm(), system.data)
    data, text = system.data, system.data.item_text
    named = data.train.behaviours
    counts = dict(zip(data.user_ids, data.train_ends - named.offsets[:-1], strict=True))
    assert (counts["never"], counts["once"]) == (0, 1)
    assert (np.diff(named.offsets) >= 2).all()  # of every user, two may be read, valid part included
    for user, request in enumerate(asked[0]):
        start, end = named.offsets[user], min(data.train_ends[user], named.offsets[user] + 2)
        for item in range(1, data.n_items):
            parts = request.replace("did not like: ", "").replace("liked: ", "").replace(". ", "; ").strip().split("; ")
            assert (text[item] in parts) == (item in named.items[start:end])
    targets = {(user, row) for user, row in zip(data.train.users, data.train.ends, strict=True)}
    assert not any((user, named.offsets[user] + place) in targets for user in range(data.n_users) for place in range(2))
    assert users.count("words") == (data.train_ends > named.offsets[:-1]).sum()
    assert items[1:] == [f"{own} words" for own in text[1:]]


def test_more_behaviours_than_are_nobodys_target_are_refused(tiny):
    with pytest.raises(UserError, match=r"history_items 3 must be at most data.min_history 2"):
        tiny(*WRITTEN, "bridges.knowledge_adapter.history_items=3")


def test_written_knowledge_reaches_the_click_model_and_the_language_model_stays(tiny):
    run = train_run(tiny(*WRITTEN, "train.schedule.id_length=3"))
    found = evaluate_run(run.path, "test")
    assert set(found["sides"]) == {"id"}
    assert not (run.path / "best" / "llm").exists()
    trainer = build(tiny(*WRITTEN, "name=again"))
    trainer.system.load(run.path / "best" / "id")
    adapter = trainer.system.exchange.bridges["knowledge_adapter"]
    assert adapter.known
    samples, scorer = trainer.system.data.valid, trainer.learners["id"].scorer
    before = scorer.logits(samples)
    adapter.item_vectors.neg_()
    adapter.train()
    assert not np.allclose(before, scorer.logits(samples))


def test_judging_looks_knowledge_up_and_computes_no_expert(tiny, monkeypatch):
    trainer = build(tiny(*WRITTEN))
    trainer._prepare()
    adapter, scorer = trainer.system.exchange.bridges["knowledge_adapter"], trainer.learners["id"].scorer
    samples = trainer.system.data.valid
    expected = scorer.logits(samples)
    rows = []
    tower = KnowledgeAdapter._tower
    monkeypatch.setattr(
        KnowledgeAdapter, "_tower", lambda self, name, ids: rows.append(len(ids)) or tower(self, name, ids)
    )
    trainer.learners["id"].wake()
    np.testing.assert_allclose(scorer.logits(samples), expected, rtol=1e-6)
    assert rows == [len(adapter.user_vectors), len(adapter.item_vectors)]  # the two tables, once
    assert adapter.training
    assert adapter.metrics() == {}


def test_a_click_models_weights_count_its_tables_not_the_experts(tiny):
    run = train_run(tiny(*WRITTEN))
    system = build(tiny(*WRITTEN, "name=again")).system
    adapter = system.exchange.bridges["knowledge_adapter"]
    tables = 4 * (len(adapter.user_vectors) - 1 + len(adapter.item_vectors))
    own = sum(weight.numel() for weight in system.id_model.parameters())
    assert evaluate_run(run.path, "test")["sides"]["id"]["parameters"] == own + tables


@pytest.mark.parametrize("kind", ["gated", "dense", "block"])
def test_knowledge_is_written_by_the_untuned_model_whatever_adapter_it_has(tiny, kind):
    gate = ("arm=both", "bridges.lora_gate.enabled=true", f"llm.lora.kind={kind}", "llm.lora.experts=2")
    config, plain = tiny(*WRITTEN, *gate, "name=gate"), tiny(*WRITTEN)
    texts = [knowledge_texts(one, (system := build(one).system).need_llm(), system.data) for one in (config, plain)]
    assert texts[0] == texts[1]


def test_knowledge_is_written_before_the_click_model_learns_whenever_items_are_encoded(tiny):
    late = ("train.schedule.llm_length=1", "train.llm.encode_items=epoch", "arm=both")
    trainer = build(tiny(*WRITTEN, *late))
    trainer._prepare()
    assert trainer.system.exchange.bridges["knowledge_adapter"].known


def test_knowledge_for_clicks_rests_in_rankings_and_that_is_said(tiny, caplog):
    with caplog.at_level("INFO", "hybrid"):
        build(tiny(*WRITTEN, "task=ranking", "id.model=sasrec", "data.min_history=0", "bridges.knowledge.enabled=true"))
    assert "task=ranking: bridges of the other task rest: knowledge_adapter" in caplog.text


def test_written_knowledge_learns_with_the_click_model(tiny):
    trainer = build(tiny(*WRITTEN))
    trainer._prepare()
    learner, adapter = trainer.learners["id"], trainer.system.exchange.bridges["knowledge_adapter"]
    learner.wake()
    batch = next(iter(learner.batches(0, 0)))
    learner.losses(batch)["bce"].backward()
    assert all(gate.weight.grad.abs().sum() > 0 for gate in adapter.adapter.gates.values())
    assert {id(weight) for weight in adapter.parameters()} <= {id(weight) for weight in learner.parameters}


def test_long_knowledge_is_cut_and_that_is_said(tiny, caplog):
    config = tiny(*WRITTEN, "bridges.knowledge_adapter.encode_tokens=3")
    with caplog.at_level("INFO", "hybrid"):
        build(config)._prepare()
    assert "item texts are cut to 3 tokens" in caplog.text


def test_knowledge_longer_than_the_context_is_cut_to_it(tiny, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Backbone, "context", 60)
    monkeypatch.setattr("hybrid.ctr.knowledge.write_knowledge", lambda backbone, prompts, *_: ["a" * 90] * len(prompts))
    read = lengths_read(monkeypatch)
    long = "bridges.knowledge_adapter.encode_tokens=100000"
    trainer = build(tiny(*WRITTEN, *BARE, long, f"data.cache_dir={tmp_path}"))
    with caplog.at_level("INFO", "hybrid"):
        trainer._prepare()
    room = 60 - len("Item:") - 1  # a token is a letter; the last one is the suffix
    n_users, n_items = trainer.system.data.n_users, trainer.system.data.n_items
    assert f"knowledge: {n_users} user texts are cut to {room} tokens" in caplog.text
    assert f"knowledge: {n_items} item texts are cut to {room} tokens" in caplog.text
    assert max(read) == 60


def test_requests_that_lose_behaviours_are_counted(tiny, monkeypatch, caplog):
    fits = len("did not like: A10; A12\n")
    monkeypatch.setattr(Backbone, "context", fits + 4)  # 4 are written
    system = build(tiny(*WRITTEN, *BARE)).system
    with caplog.at_level("INFO", "hybrid"):
        knowledge_texts(system.config, system.need_llm(), system.data)
    behaviours = system.data.train.behaviours
    of_both_kinds = sum(len(set(behaviours.liked[start : start + 2])) == 2 for start in behaviours.offsets[:-1])
    assert 0 < of_both_kinds < system.data.n_users
    assert f"knowledge: {of_both_kinds} users' requests are cut to {fits} tokens" in caplog.text


def test_vectors_of_knowledge_are_read_again_not_computed(tiny, tmp_path, monkeypatch):
    config = tiny(*WRITTEN, f"data.cache_dir={tmp_path}")
    first, read = build(config), lengths_read(monkeypatch)
    first._prepare()
    assert read
    read.clear()
    second = build(config)
    second._prepare()
    assert not read
    adapters = [trainer.system.exchange.bridges["knowledge_adapter"] for trainer in (first, second)]
    assert torch.equal(adapters[0].user_vectors, adapters[1].user_vectors)
    assert torch.equal(adapters[0].item_vectors, adapters[1].item_vectors)


def lengths_read(monkeypatch):
    """Tokens of each batch that the language model reads from here on."""
    lengths, hidden = [], LLMRecommender.hidden

    def record(self, embeddings, users=None):
        lengths.append(embeddings.shape[1])
        return hidden(self, embeddings, users)

    monkeypatch.setattr(LLMRecommender, "hidden", record)
    return lengths


def test_the_curve_command_draws_all_points_once(tiny, capsys):
    written = [setting for setting in WRITTEN if not setting.startswith("arm=")]
    overrides = [*written, f"output_dir={tiny().output_dir}", f"data.dataset={tiny().data.dataset}", "name=small"]
    cache = f"data.cache_dir={tiny().data.cache_dir}"
    short = ["train.schedule.rounds=1", "train.schedule.id_length=1"]
    command = ["curve", str(tiny.path), *overrides, *short, cache, "--fractions", "0.3,1", "--seeds", "1"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "AUC on test, mean ± standard deviation over seeds 1" in printed
    assert "ID, LLM-to-ID only: " in printed
    folder = tiny.path.parent / "runs" / "small"
    assert {path.name for path in folder.iterdir()} == {"curve.csv", "curve.md", "curve.png", "id_only", "llm2id"}
    lines = (folder / "curve.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 2
    assert main(command) == 0  # all of them finished: nothing is trained again
    assert (folder / "curve.csv").read_text().splitlines() == lines
    shares = [load_config(folder / f"id_only/share-{share}/seed-1/config.yaml", []) for share in ("0.3", "1")]
    assert [config.train.id.samples for config in shares][1] == 0
    n_train = len(build(shares[1]).learners["id"].data.rows)
    assert shares[0].train.id.samples == round(0.3 * n_train)
    few, all_of_them = (build(config).learners["id"].data.rows for config in shares)
    everything = set(zip(all_of_them.users, all_of_them.ends, strict=True))
    assert set(zip(few.users, few.ends, strict=True)) < everything


def test_shares_of_a_seed_are_nested_and_each_seed_draws_its_own(tiny, monkeypatch):
    configs = []

    def finished(config, fingerprint):
        configs.append(config)
        return SimpleNamespace(path=None)

    monkeypatch.setattr(curve_runs, "finished_run", finished)
    monkeypatch.setattr(curve_runs, "evaluate_run", lambda *_: {"sides": {"id": {"metrics": {"auc": 0.5}}}})
    curve_runs.draw_curve(tiny(*WRITTEN), ["id_only", "llm2id"], [0.3, 0.6], [1, 2])
    drawn = {}
    for config in configs:
        assert config.train.llm.samples == config.train.id.samples > 0
        rows = build(config).learners["id"].data.rows
        drawn[config.name.removeprefix("run/")] = set(zip(rows.users, rows.ends, strict=True))
    for arm in ("id_only", "llm2id"):
        for seed in (1, 2):
            assert drawn[f"{arm}/share-0.3/seed-{seed}"] < drawn[f"{arm}/share-0.6/seed-{seed}"]
        assert drawn[f"{arm}/share-0.3/seed-1"] != drawn[f"{arm}/share-0.3/seed-2"]
    assert drawn["id_only/share-0.3/seed-1"] == drawn["llm2id/share-0.3/seed-1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task=ranking"], "a curve is drawn of task=ctr"),
        (["--arms", "llm2id"], "the first must be id_only"),
        (["--arms", "id_only,llm_only"], "the llm side of llm_only is neither trained nor judged"),
        (["--fractions", "0.0001,1"], "a share of 0.0001 of"),
        (["--fractions", "1,0.004"], "--fractions 0.004 with seed 1: all 1 drawn samples were"),
    ],
)
def test_curves_that_cannot_be_drawn(tiny, capsys, arguments, message):
    config = tiny()
    places = [f"output_dir={config.output_dir}", f"data.dataset={config.data.dataset}"]
    written = [part for part in WRITTEN if not part.startswith("arm=")]
    assert (
        main(["curve", str(tiny.path), *written, *places, f"data.cache_dir={config.data.cache_dir}", *arguments]) == 2
    )
    assert message in capsys.readouterr().err


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
