"""A whole comparison: seeds, ablation, controls, blends and files."""

import json

import pytest
import torch

import hybrid.comparison.compare as compare_module
from bridges.errors import BridgeError
from hybrid.checkpoint_files import load_tensors
from hybrid.comparison.compare import compare, write_comparison
from hybrid.comparison.plan import make_plan
from hybrid.errors import UserError
from hybrid.evaluation.metrics import ranking_metrics
from hybrid.runs import train_run
from idmodels.errors import IDModelError

SHORT = ("train.schedule.rounds=1", "train.schedule.id_length=1", "evaluation.bootstrap=50", "name=cmp")
LESS = ("bridges.mformer.enabled=false", "bridges.store.enabled=false", "bridges.distill.enabled=false")


def test_a_comparison_has_all_rows_and_is_written(tiny, tmp_path):
    config = tiny(*SHORT, *LESS)
    controls = ["static_text", "shuffled_history"]
    plan = make_plan(config, ["id_only", "llm_only", "both"], [1, 2], True, controls, [2])
    found, runs = compare(config, plan)
    assert len(runs) == 3 * 2 + 1 + 1
    by_side = {side: [row.label for row in found.rows if row.side == side] for side in ("id", "llm", "blend")}
    assert by_side["id"] == [
        "ID alone",
        "ID after joint training",
        "ID after joint training; without knowledge",
        "ID alone; histories shuffled at test time",
        "ID after joint training; control static_text",
        "ID after joint training; histories shuffled at test time",
    ]
    assert not any("static" in label for label in by_side["llm"])
    assert by_side["blend"] == ["Blend of both, before", "Blend of both, after (both)"]
    assert set(found.overlaps) == {"before", "both"}
    assert [len(values) for values in found.overlaps.values()] == [2, 2]
    assert found.errors == []
    once = "best at its last validation"  # each has only one
    assert [note.partition(",")[0] for note in found.notes if once in note] == ["ID alone", "LLM alone"]
    joint = next(row for row in found.rows if row.label == "ID after joint training")
    assert joint.changes["ndcg@10"].seeds == 2
    assert min(joint.numbers("train_s")) > 0
    written = write_comparison(found, tmp_path / "runs" / "cmp")
    assert [path.name for path in written] == ["compare.md", "compare.json", "compare.png"]
    record = json.loads(written[1].read_text())
    assert record["seeds"] == [1, 2]
    assert len(record["rows"]) == len(found.rows)
    assert "| ID alone |" in written[0].read_text()
    measured = "20 users, full catalogue, history items left out, ties against the target"
    assert written[0].read_text().startswith(f"Test part ({measured}), mean")
    assert f"test: {measured}" in found.text()


def test_what_cannot_be_trained_is_said_before_anything_is(tiny, tmp_path):
    config = tiny(*SHORT, "llm.num_layers=9")
    with pytest.raises(UserError, match=r"llm\.num_layers is 9, but tiny-random has only 2 layers"):
        compare(config, make_plan(config, ["id_only", "both"], [1]))
    assert not (tmp_path / "runs" / "cmp").exists()


def test_more_time_for_the_llm_alone_leaves_the_runs_of_other_arms_as_they_are(tiny):
    def plan(arms, *more):
        return make_plan(tiny(*SHORT, *more), arms, [1])

    compare(tiny(*SHORT), plan(["id_only", "llm_only"]))
    longer = ["train.schedule.llm_only_length=3"]
    found, _ = compare(tiny(*SHORT, *longer), plan(["id_only"], *longer))
    assert [row.label for row in found.rows] == ["ID alone"]
    with pytest.raises(UserError, match=r"another config; different: train.schedule.llm_only_length \(0 -> 3\)"):
        compare(tiny(*SHORT, *longer), plan(["id_only", "llm_only"], *longer))


def test_a_run_of_another_config_in_the_place_of_a_later_one_is_found_first(tiny, tmp_path):
    train_run(tiny(*SHORT, "name=cmp/both/seed-1", "arm=llm_only"))
    config = tiny(*SHORT)
    with pytest.raises(UserError, match="was started with another config"):
        compare(config, make_plan(config, ["id_only", "both"], [1]))
    assert not (tmp_path / "runs" / "cmp" / "id_only").exists()


def test_a_blend_weighs_by_validation_and_ranks_the_test_part(tiny, monkeypatch):
    config = tiny(*SHORT, *LESS)
    monkeypatch.setattr("hybrid.comparison.blends.best_weight", lambda *_: 1.0)  # the ID side alone
    found, runs = compare(config, make_plan(config, ["both"], [1]))
    blend = next(row for row in found.rows if row.side == "blend")
    ranks = load_tensors(runs[0].path / "test_ranks.safetensors")[0]["id.ranks"]
    assert torch.equal(blend.ranks[1], ranks)
    assert blend.results[1]["weight"] == 1.0
    assert blend.values("hr@5") == [pytest.approx(ranking_metrics(ranks)["hr@5"])]


@pytest.mark.parametrize("kind", [UserError, BridgeError, IDModelError])
def test_a_control_that_cannot_be_trained_is_left_out_with_a_note_and_an_arm_is_an_error(tiny, monkeypatch, kind):
    train = compare_module.finished_run

    def refusing(config, fingerprint):
        if config.controls.item_text == "permuted" or config.id.width == 16:
            raise kind("this one diverged")
        return train(config, fingerprint)

    monkeypatch.setattr(compare_module, "finished_run", refusing)
    config = tiny(*SHORT, *LESS)
    found, _ = compare(config, make_plan(config, ["llm2id"], [1], controls=["item_text"]))
    assert [row.kind for row in found.rows if row.side == "id"] == ["arm"]
    assert found.notes == ["control_item_text left out: this one diverged"]
    config = tiny(*SHORT, *LESS, "id.width=16")
    with pytest.raises(kind, match="this one diverged"):
        compare(config, make_plan(config, ["id_only"], [1]))
