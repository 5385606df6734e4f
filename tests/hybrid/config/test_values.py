"""Values and files that can't be used are one line, before anything is loaded."""

import pytest

import bridges.errors
import hybrid.errors
from hybrid.config.load import load_config, read_yaml
from hybrid.config.schema import PromptConfig
from hybrid.errors import UserError


def test_a_prompt_must_hold_an_item_for_each_target():
    with pytest.raises(UserError) as error:
        load_config(None, ["llm.prompt.history_items=3", "llm.prompt.targets_per_prompt=4"])
    assert str(error.value).startswith("llm.prompt: history_items 3 must be at least targets_per_prompt 4")
    assert "\n" not in str(error.value)
    PromptConfig(history_items=4, targets_per_prompt=4)


@pytest.mark.parametrize("granularity", ["layer", "module"])
def test_a_grid_of_weights_is_for_the_whole_model(granularity):
    chosen = f"instruct.mixture.granularity={granularity}"
    message = rf"^instruct\.mixture: weights=grid .*, so granularity={granularity} has no effect; .*weights=entropy$"
    with pytest.raises(UserError, match=message):
        load_config(None, ["instruct.mixture.weights=grid", chosen])
    load_config(None, ["instruct.mixture.weights=grid"])
    load_config(None, [chosen])


def test_a_negative_seed_is_refused():
    with pytest.raises(UserError, match=r"^seed: input should be greater than or equal to 0, got -1$"):
        load_config(None, ["seed=-1"])
    assert load_config(None, ["seed=0"]).seed == 0


def test_a_file_that_is_not_utf8_says_where(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: café\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.yaml: not valid UTF-8 at byte 9$"):
        read_yaml(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path, monkeypatch):
    path = tmp_path / "closed.yaml"
    path.write_text("name: a\n")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(path), "read_text", refuse)  # root reads any file
    with pytest.raises(UserError, match=r"closed\.yaml: can't be read: Permission denied$"):
        read_yaml(path)


def test_hints_of_all_packages_are_the_same():
    assert hybrid.errors.nearest is bridges.errors.nearest


def test_settings_that_clicks_cannot_follow_are_refused():
    with pytest.raises(UserError, match=r"train\.id\.loss has no effect with task=ctr: .* leave it out$"):
        load_config(None, ["task=ctr", "train.id.loss.kind=bce"])
    with pytest.raises(
        UserError, match=r"llm\.tune=none leaves the LLM nothing to train .*llm_length=0 .* llm\.tune=lora$"
    ):
        load_config(None, ["task=ctr", "llm.tune=none"])
    load_config(None, ["task=ctr", "llm.tune=none", "train.schedule.llm_length=0"])


@pytest.mark.parametrize("loss", ["train.id.loss.kind=gbce", "id.recbole={loss_type: BPR}"])
def test_smoothed_targets_need_a_softmax(loss):
    with pytest.raises(
        UserError, match=r"bridges.smoothing smooths the targets of a softmax, but the loss is (train.id|id.re)"
    ):
        load_config(None, ["preset=joint", loss])
    off = ["preset=joint", loss, "bridges.smoothing.enabled=false"]
    load_config(None, off)
    with pytest.raises(UserError, match=r"bridges\.sequence_smoothing smooths the targets of a softmax"):
        load_config(None, [*off, "bridges.sequence_smoothing.enabled=true"])
    load_config(None, ["preset=joint", loss, "arm=id_only"])
    load_config(None, ["preset=joint", "train.id.loss.kind=sampled_softmax"])
    load_config(None, ["task=ctr", "llm.tune=none", "arm=id_only"])


@pytest.mark.parametrize("model", ["bert4rec", "recbole:NARM"])
def test_substitutions_need_a_model_that_reads_the_batch_it_is_given(model):
    on = ["preset=joint", "bridges.smoothing.enabled=false", "bridges.substitution.enabled=true"]
    with pytest.raises(UserError, match=f"bridges.substitution replaces inputs, which id.model={model} cuts"):
        load_config(None, [*on, f"id.model={model}"])
    load_config(None, [*on, f"id.model={model}", "arm=id_only"])
    load_config(None, on)


def test_substitutions_by_ranking_need_states_before_items_that_are_read():
    on = ["preset=joint", "bridges.substitution.enabled=true", "bridges.substitution.source=ranking"]
    load_config(None, [*on, "llm.prompt.targets_per_prompt=3"])
    few = [*on, "llm.prompt.targets_per_prompt=2"]
    with pytest.raises(UserError, match=r"needs llm\.prompt\.targets_per_prompt of at least 3, this is 2"):
        load_config(None, few)
    load_config(None, [*few, "bridges.substitution.source=text"])
    load_config(None, [*few, "arm=id2llm"])


def test_substitutions_by_ranking_need_a_turn_of_the_llm_before_one_of_the_id_model():
    on = ["preset=joint", "bridges.substitution.enabled=true", "bridges.substitution.source=ranking"]
    with pytest.raises(UserError, match="needs a turn of the LLM, or of the peer in its place"):
        load_config(None, [*on, "train.schedule.rounds=1"])
    load_config(None, [*on, "train.schedule.rounds=1", "train.schedule.first=llm"])
    peer = ["bridges.distill.teacher=peer", "train.schedule.llm_length=0", "train.schedule.first=llm"]
    with pytest.raises(UserError, match=r"at least 2$"):
        load_config(None, [*on, "train.schedule.rounds=1", *peer])
    load_config(None, [*on, "train.schedule.rounds=1", "bridges.substitution.source=text"])


def test_an_attended_history_needs_room_for_older_items():
    on = ["preset=joint", "bridges.attended_history.enabled=true"]
    with pytest.raises(UserError, match=r"older than the last llm\.prompt\.targets_per_prompt 20, but .* no room"):
        load_config(None, on)
    load_config(None, [*on, "llm.prompt.history_items=21"])
    load_config(None, [*on, "arm=llm2id"])


def test_a_window_of_hard_negatives_is_in_order():
    with pytest.raises(UserError, match=r"first 9 must be at most last 8"):
        load_config(None, ["bridges.hard_negatives.first=9", "bridges.hard_negatives.last=8"])
