"""Which runs a comparison consists of."""

import pytest

from hybrid.comparison.plan import CONTROLS, ablations, changed, make_plan
from hybrid.config.load import load_config
from hybrid.errors import UserError


@pytest.fixture
def config():
    return load_config(None, ["name=t", "llm.name=tiny-random", "bridges.mformer.enabled=false"])


def test_every_arm_has_a_run_for_every_seed_in_a_folder_of_its_own(config):
    plan = make_plan(config, ["id_only", "both"], [3, 1])
    found = [(one.arm, one.seed, one.name) for entry in plan.entries for one in entry.configs]
    assert found == [
        ("id_only", 3, "t/id_only/seed-3"), ("id_only", 1, "t/id_only/seed-1"),
        ("both", 3, "t/both/seed-3"), ("both", 1, "t/both/seed-1"),
    ]  # fmt: skip


def test_an_arm_in_which_nothing_is_judged_is_left_out_with_a_note(config):
    silent = changed(config, {"train.schedule.llm_length": 0, "evaluation.untrained": False})
    plan = make_plan(silent, ["id_only", "llm_only", "llm2id"], [1])
    assert [entry.name for entry in plan.entries] == ["id_only", "llm2id"]
    assert plan.notes[0].startswith("llm_only left out: its side is neither trained nor judged")
    with pytest.raises(UserError, match="--arms: llm_only left out"):
        make_plan(silent, ["llm_only"], [1])


def test_a_control_of_the_exchange_may_stand_beside_a_side_alone(config):
    plan = make_plan(changed(config, {"bridges.distill.teacher": "self"}), ["id_only", "llm_only", "llm2id"], [1])
    assert [entry.name for entry in plan.entries] == ["id_only", "llm_only", "llm2id"]


def on(config):
    return {name for name, bridge in vars(config.bridges).items() if bridge.enabled}


def test_each_bridge_that_is_on_is_alone_once_and_left_out_once(config):
    both = changed(config, {"arm": "both"})
    found = {name: on(changed(both, overrides)) for name, overrides in ablations(both).items()}
    assert found == {
        "only_store": {"store"}, "only_knowledge": {"knowledge"}, "only_distill": {"distill"},
        "without_store": {"knowledge", "distill"}, "without_knowledge": {"store", "distill"},
        "without_distill": {"store", "knowledge"},
    }  # fmt: skip


def test_an_ablation_that_makes_no_sense_is_left_out_with_a_note(config):
    plan = make_plan(changed(config, {"bridges.distill.teacher": "self"}), ["both"], [1], ablate=True)
    assert [entry.name for entry in plan.entries] == ["both", "only_distill", "without_store", "without_knowledge"]
    assert [note.partition(" left out")[0] for note in plan.notes] == [
        "only_store", "only_knowledge", "without_distill",
    ]  # fmt: skip


def test_bridges_of_a_closed_direction_are_no_ablation(config):
    assert set(ablations(changed(config, {"arm": "llm2id"}))) == {
        "only_knowledge", "only_distill", "without_knowledge", "without_distill",
    }  # fmt: skip


def test_a_bridge_alone_already_is_only_left_out(config):
    alone = changed(config, {"bridges.store.enabled": False, "bridges.distill.enabled": False})
    assert list(ablations(alone)) == ["without_knowledge"]


def test_controls_change_one_thing_each_and_may_have_fewer_seeds(config):
    names = ["item_text", "id_states", "projector", "static_text"]
    plan = make_plan(config, ["id_only", "both"], [1, 2, 3], controls=names, extra_seeds=[2])
    found = {entry.name: entry.configs for entry in plan.entries if entry.kind == "control"}
    assert list(found) == [f"control_{name}" for name in names]
    assert all([one.seed for one in configs] == [2] for configs in found.values())
    assert found["control_item_text"][0].controls.item_text == "permuted"
    assert found["control_static_text"][0].train.schedule.llm_length == 0
    assert all(configs[0].arm == "both" for configs in found.values())


def test_with_one_view_both_sides_read_the_llms_vectors(config):
    two = changed(config, {"llm.shared_encoder": "bag-of-words"})
    plan = make_plan(two, ["both"], [1], controls=["one_view", "bag_of_words"])
    found = {entry.name: entry.configs[0].llm for entry in plan.entries}
    assert found["both"].shared_encoder == "bag-of-words"
    assert (found["control_one_view"].item_encoder, found["control_one_view"].shared_encoder) == ("", "")
    counted = found["control_bag_of_words"]
    assert (counted.item_encoder, counted.shared_encoder) == ("bag-of-words", "")


@pytest.mark.parametrize("bridge", ["neighbours", "smoothing", "substitution"])
def test_static_text_applies_where_any_bridge_brings_text_to_the_id_side(config, bridge):
    alone = changed(config, {"bridges.knowledge.enabled": False, f"bridges.{bridge}.enabled": True})
    plan = make_plan(alone, ["id_only", "both"], [1], controls=["static_text"])
    assert any(entry.name == "control_static_text" for entry in plan.entries)


def test_static_text_does_not_apply_where_the_llms_ranking_alone_reaches_the_id_side(config):
    proposing = {"bridges.substitution.enabled": True, "bridges.substitution.source": "ranking"}
    alone = changed(config, {"bridges.knowledge.enabled": False, **proposing})
    with pytest.raises(UserError, match="no text vectors reach the ID model"):
        make_plan(alone, ["both"], [1], controls=["static_text"])


def test_all_controls_leave_out_what_does_not_apply_and_say_so(config, monkeypatch):
    monkeypatch.setattr("hybrid.llm.sentence_encoder.find_spec", lambda name: None)
    plan = make_plan(config, ["id_only", "both"], [1], controls=["all"])
    assert {entry.name for entry in plan.entries if entry.shuffled} == {"id_only", "both"}
    assert len(plan.notes) == 3
    assert "control llm_weights left out: controls.llm_weights=random does not apply" in plan.notes[0]
    assert "control sentence_encoder left out" in plan.notes[1]
    assert "control one_view left out" in plan.notes[2]
    made = {entry.name for entry in plan.entries if entry.kind == "control" and not entry.shuffled}
    assert made == {f"control_{name}" for name in CONTROLS} - {
        "control_llm_weights", "control_sentence_encoder", "control_one_view", "control_shuffled_history",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arms", "controls", "message"),
    [
        (["both"], ["item_txt"], "unknown control 'item_txt'; did you mean 'item_text'?"),
        (["both"], ["llm_weights"], "no pretrained weights"),
        (["llm2id"], ["id_states"], "the LLM reads no ID states"),
        (["id2llm"], ["one_view"], "no text vectors reach the ID model"),
        (["both"], ["one_view"], "without llm.shared_encoder both sides read the same vectors"),
        (["id2llm"], ["static_text"], "no text vectors reach the ID model"),
        (["id_only", "llm_only"], ["item_text"], "add both, llm2id or id2llm"),
    ],
)
def test_a_named_control_that_does_not_apply_is_an_error(config, arms, controls, message):
    with pytest.raises(UserError) as found:
        make_plan(config, arms, [1], controls=controls)
    assert message in str(found.value)
