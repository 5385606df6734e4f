"""The sample-efficient Laser, on a tiny model: what the language model writes, and the curve of training shares."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bridges.knowledge_adapter import KnowledgeAdapter
from hybrid import curve_runs
from hybrid.cli import main
from hybrid.config.load import load_config
from hybrid.ctr.knowledge import knowledge_texts
from hybrid.data.prepare import prepare
from hybrid.errors import UserError
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.llm.backbone import Backbone
from hybrid.llm.recommender import LLMRecommender
from hybrid.runs import create_trainer, train_run

OFF = [f"bridges.{name}.enabled=false" for name in ("store", "mformer", "knowledge", "distill")]
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
