"""One config from yaml, presets and overrides; what is wrong is said by key."""

import dataclasses
import itertools
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hybrid.config.describe import reference, settings
from hybrid.config.load import build_config, dump_config, load_config, preset_names, read_yaml
from hybrid.config.schema import Config, DataConfig
from hybrid.errors import UserError
from idmodels.settings import IDSettings


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_no_sources_give_the_defaults():
    assert load_config() == Config()


def test_later_sources_win(tmp_path):
    path = write(tmp_path / "run.yaml", "preset: quickstart\nname: mine\nllm: {num_layers: 2}\n")
    config = load_config(path, ["llm.num_layers=3"])
    assert (config.name, config.llm.num_layers) == ("mine", 3)
    assert config.id.max_length == read_preset_value("quickstart", "id", "max_length")


def test_the_quickstart_is_joint_on_a_dataset_that_is_there_with_a_shorter_llm_alone():
    joint, quickstart = (load_config(None, [f"preset={name}"]) for name in ("joint", "quickstart"))
    joint = replace(joint, train=replace(joint.train, schedule=replace(joint.train.schedule, llm_only_length=0)))
    assert quickstart == replace(joint, name="quickstart", data=replace(joint.data, dataset="ml-100k"))


def read_preset_value(preset, *keys):
    from hybrid.config.load import read_preset

    value = read_preset(preset)
    for key in keys:
        value = value[key]
    return value


def test_override_values_are_typed():
    config = load_config(None, ["train.id.learning_rate=1e-3", "data.text_fields=[title,brand]", "name=12"])
    assert config.train.id.learning_rate == 0.001
    assert config.data.text_fields == ("title", "brand")
    assert config.name == "12"


@pytest.mark.parametrize(
    ("given", "expected"), [("Yes", "Yes"), (" Sure", " Sure"), ("' No'", " No"), ("12", "12"), ("a: b", "a: b")]
)
def test_a_text_is_taken_as_it_is_given(given, expected):
    assert load_config(None, [f"llm.click_prompt.positive={given}"]).llm.click_prompt.positive == expected


def test_a_bare_yes_in_a_yaml_is_asked_to_be_quoted(tmp_path):
    path = write(tmp_path / "c.yaml", "llm: {click_prompt: {positive: Yes}}")
    with pytest.raises(UserError, match=r"llm.click_prompt.positive: .* valid string, got True; put it in quotes"):
        load_config(path)


def test_dump_reads_back_equal(tmp_path):
    config = load_config(None, ["data.text_fields=[a]", "bridges.distill.enabled=false", "seed=7"])
    assert load_config(write(tmp_path / "c.yaml", dump_config(config))) == config


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_builds(preset):
    assert isinstance(load_config(None, [f"preset={preset}"]), Config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.schedule.round=2", "unknown key 'train.schedule.round'; did you mean 'train.schedule.rounds'?"),
        ("rounds=2", "unknown key 'rounds'"),
        ("train.schedule.rounds=0", "train.schedule.rounds: input should be greater than 0, got 0"),
        ("train.schedule.rounds=two", "train.schedule.rounds: input should be a valid integer"),
        ("llm.lora=3", "llm.lora: expected keys such as rank, got 3"),
        ("id.width=63", "width 63 must be a multiple of heads 2"),
        ("arm=bth", "arm: input should be 'id_only'"),
        ("evaluation.metric=auc", "evaluation.metric: input should be 'hr@5', 'hr@10'"),
        ("train.id.learning_rate=nan", "train.id.learning_rate: input should be"),
        ("train_batch_sise=3", "unknown key 'train_batch_sise'; did you mean 'train_batch_size'?"),
        ("preset=jont", "unknown preset 'jont'; did you mean 'joint'?"),
        ("rounds", "override 'rounds' is not of the form key=value"),
        ("seed=[1", "override 'seed=[1': the value is not valid yaml"),
    ],
)
def test_wrong_overrides_say_what_is_wrong(override, message):
    with pytest.raises(UserError) as error:
        load_config(None, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_offers_the_nearest(tmp_path):
    write(tmp_path / "quick.yaml", "name: a")
    with pytest.raises(UserError, match=r"did you mean 'quick.yaml'"):
        load_config(tmp_path / "quik.yaml")


def test_broken_yaml_says_where(tmp_path):
    with pytest.raises(UserError, match="line 2"):
        read_yaml(write(tmp_path / "bad.yaml", "a: 1\nb: [1\n"))


def test_every_setting_has_a_help_text():
    without = [item.key for item in settings() if not item.help]
    assert without == []
    keys = [item.key for item in settings()]
    assert "train.schedule.rounds" in keys
    assert "train.llm.weight_decay" in keys  # inherited fields too
    assert len(set(keys)) == len(keys)


def test_a_bridges_switch_says_what_it_switches():
    (switch,) = [item.help for item in settings() if item.key == "bridges.smoothing.enabled"]
    assert "the ID model learns a little of the items whose text is near" in switch


def test_every_setting_is_one_row_of_the_reference_page():
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [item.key for item in settings()]
    assert all(row.endswith("|") for row in rows)


def test_the_reference_page_is_up_to_date():
    page = Path(__file__).parents[3] / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == reference(), (
        "run: python -m hybrid.config.describe > docs/configuration.md"
    )


def test_recbole_yaml_is_understood(tmp_path):
    text = """
USER_ID_FIELD: uid
MAX_ITEM_LIST_LENGTH: 20
hidden_size: 32
inner_size: 64
n_heads: 4
train_batch_size: 512
valid_metric: NDCG@10
load_col: {inter: [uid, item_id, timestamp]}
user_inter_num_interval: "[5,inf)"
eval_args: {split: {LS: valid_and_test}, order: TO, mode: full}
"""
    config = load_config(write(tmp_path / "recbole.yaml", text))
    assert config.data.user_field == "uid"
    assert config.data.user_core == 5
    assert (config.id.max_length, config.id.width, config.id.inner_width, config.id.heads) == (20, 32, 64, 4)
    assert config.train.id.batch_targets == 512
    assert config.evaluation.metric == "ndcg@10"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}}}, "eval_args: only split"),
        ({"eval_args": {"mode": "uni100"}}, "eval_args.mode: only full ranking"),
        ({"user_inter_num_interval": "[5,10]"}, "user_inter_num_interval: only intervals such as '[5,inf)'"),
        ({"val_interval": {"rating": "[1,4]"}}, "val_interval: only intervals such as '[3,inf)' are understood, got"),
        ({"val_interval": {"rating": "(3,inf)"}}, "val_interval: open below, '(3,inf)'; write the lowest rating"),
        ({"val_interval": {"timestamp": "[0,inf)"}}, "val_interval: only an interval of rating is understood"),
        ({"weight_decay": 0.01}, "RecBole's weight_decay=0.01 can't be followed here; accepted: 0 (RecBole's is an L2"),
        ({"loss_type": "BCE"}, "RecBole's loss_type='BCE' can't be followed here; accepted: 'CE', 'BPR'"),
        (
            {"train_neg_sample_args": {"distribution": "uniform"}},
            "with loss_type CE can't be followed here; accepted: no",
        ),
        (
            {"loss_type": "BPR", "train_neg_sample_args": {"sample_num": 4}},
            "with loss_type BPR can't be followed here; accepted: {distribution: uniform, sample_num: 1}",
        ),
        ({"learner": "sgd"}, "RecBole's learner='sgd' can't be followed here; accepted: 'adam'"),
        ({"eval_step": 5}, "RecBole's eval_step=5 can't be followed here; accepted: 1 (every epoch is validated)"),
        ({"rm_dup_inter": "first"}, "accepted: nothing (repeated interactions are kept)"),
        ({"benchmark_filename": ["train", "valid", "test"]}, "accepted: nothing (a dataset is split here"),
        ({"hidden_act": "relu"}, "RecBole's hidden_act='relu' can't be followed here; accepted: 'gelu'"),
        ({"enable_amp": True}, "RecBole's enable_amp=True can't be followed here; accepted: False"),
        ({"valid_metric": "Precision@10"}, "valid_metric: Hit, Recall, NDCG and MRR at 5, 10 and 20 are known here"),
        ({"valid_metric": "NDCG@7"}, "valid_metric: Hit, Recall, NDCG and MRR at 5, 10 and 20 are known here"),
        ({"clip_grad_norm": {"max_norm": 5, "norm_type": 1}}, "clip_grad_norm: only {max_norm: NUMBER, norm_type: 2}"),
        ({"model": "NRAM"}, "RecBole has no sequential model 'NRAM'; did you mean 'NARM'?"),
        ({"model": "NARM", "train_neg_sample_args": {"distribution": "popularity"}}, "can't be followed here"),
        (
            {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "RO"}},
            "eval_args: only split {LS: valid_and_test}",
        ),
    ],
)
def test_recbole_settings_that_mean_something_else_are_refused(tmp_path, tree, message):
    import yaml

    with pytest.raises(UserError, match=re.escape(message)) as error:
        load_config(write(tmp_path / "r.yaml", yaml.safe_dump(tree)))
    assert "\n" not in str(error.value)


def load(tmp_path, text, *overrides):
    return load_config(write(tmp_path / "recbole.yaml", text), overrides)


def test_a_pure_recbole_yaml_has_recboles_defaults(tmp_path):
    config = load(tmp_path, "model: SASRec\ndataset: ml-1m\n")
    assert config.arm == "id_only"
    assert (config.train.schedule.rounds, config.train.schedule.id_length, config.train.id.patience) == (1, 300, 11)
    assert (config.train.id.clip_norm, config.train.id.batch_targets) == (0.0, 2048)
    assert (config.evaluation.metric, config.evaluation.mask_history) == ("mrr@10", False)
    assert (config.data.dataset, config.data.time_precision) == ("ml-1m", "float32")
    assert config.id == IDSettings("sasrec", 64, 50, 2, 2, 256, 0.5, 0.5)


def test_each_model_reads_its_own_names(tmp_path):
    config = load(tmp_path, "model: GRU4Rec\nhidden_size: 100\nembedding_size: 48\n")
    assert (config.id.model, config.id.width, config.id.inner_width) == ("gru4rec", 48, 100)
    assert (config.id.layers, config.id.dropout) == (1, 0.3)  # RecBole's defaults, not ours
    config = load(tmp_path, "model: BERT4Rec\nhidden_size: 32\nft_ratio: 0.5\n")
    assert (config.id.model, config.id.width, config.id.dropout, config.id.mask_ratio) == ("bert4rec", 32, 0.2, 0.2)
    assert load(tmp_path, "model: BERT4Rec\nmask_ratio: 0.4\n").id.mask_ratio == 0.4


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("dataset: ml-100k", "scaled_float32"),  # RecBole's own yaml of it has normalize_all
        ("dataset: ml-100k\nnormalize_all: false", "float32"),
        ("dataset: ml-1m\nnormalize_all: true", "scaled_float32"),
        ("dataset: ml-1m\ndata: {time_precision: exact}", "exact"),
    ],
)
def test_times_are_compared_as_in_recbole(tmp_path, text, precision):
    assert load(tmp_path, f"model: SASRec\n{text}\n").data.time_precision == precision


def test_one_key_of_ours_and_the_yaml_is_ours(tmp_path):
    config = load(tmp_path, "model: SASRec\nhidden_dropout_prob: 0.2\ntrain: {schedule: {rounds: 4}}\n")
    assert (config.arm, config.train.schedule.rounds, config.train.id.clip_norm) == ("both", 4, 5.0)
    assert (config.id.dropout, config.id.attention_dropout) == (0.2, 0.5)


def test_overrides_may_have_recboles_names_too(tmp_path):
    overrides = ("hidden_size=96", "model=GRU4Rec", "epochs=3", "evaluation.mask_history=true", "arm=both")
    config = load(tmp_path, "model: SASRec\nembedding_size: 32\nepochs: 7\n", *overrides)
    assert (config.id.model, config.id.width, config.id.inner_width) == ("gru4rec", 32, 96)
    assert (config.train.schedule.id_length, config.evaluation.mask_history, config.arm) == (3, True, "both")


def test_an_override_of_recboles_name_wins_over_the_same_setting_by_our_name(tmp_path):
    text = "epochs: 3\nmodel: SASRec\ntrain: {schedule: {id_length: 2}, id: {patience: 4}}\n"
    config = load(tmp_path, text, "epochs=3", "hidden_size=32")
    assert (config.train.schedule.id_length, config.train.id.patience, config.id.width) == (3, 4, 32)
    assert config.arm == "both"
    assert load(tmp_path, text).train.schedule.id_length == 2
    assert load(tmp_path, "id: {layers: 3}\n", "n_layers=1").id.layers == 1


def test_a_preset_beside_a_recbole_yaml_says_how_to_train(tmp_path, caplog):
    caplog.set_level("INFO")
    text = "model: SASRec\ndataset: ml-1m\nhidden_size: 32\nepochs: 7\n"
    config, joint = load(tmp_path, text, "preset=joint"), load_config(None, ["preset=joint"])
    assert (config.arm, config.evaluation, config.data.dataset) == ("both", joint.evaluation, "ml-1m")
    assert (config.id.width, config.train.schedule.id_length, config.train.schedule.rounds) == (32, 7, 2)
    assert "RecBole's names beside a preset: what is left out has the defaults of hybridrec" in caplog.text


def test_where_a_run_is_written_says_nothing_about_how_it_trains(tmp_path, caplog):
    caplog.set_level("INFO")
    text = "model: SASRec\nthreads: 1\nname: mine\noutput_dir: out\nseed: 3\n"
    config = load(tmp_path, text)
    assert (config.arm, config.threads, config.name, config.train.id.patience) == ("id_only", 1, "mine", 11)
    assert not caplog.text
    load(tmp_path, text + "arm: both\n")
    assert "RecBole's names beside settings of other names (arm): what is left out" in caplog.text


def test_a_list_may_be_written_with_commas():
    config = load_config(None, ["data.text_fields=title, genre", "llm.lora.targets=q_proj"])
    assert (config.data.text_fields, config.llm.lora.targets) == (("title", "genre"), ("q_proj",))


@pytest.mark.parametrize("name", ["", ".", "..", "a/../../b", "/runs/run"])
def test_a_name_that_is_no_folder_below_the_output_is_refused(name):
    with pytest.raises(UserError, match=r"^name: .* must be a folder below output_dir"):
        load_config(None, [f"name='{name}'"])


def test_recbole_data_settings(tmp_path):
    text = """
data_path: {folder}
dataset: toys
val_interval: {{rating: "[3,inf)"}}
user_inter_num_interval: "(4,inf)"
item_inter_num_interval: "[2, inf]"
clip_grad_norm: {{max_norm: 2.5, norm_type: 2}}
use_gpu: false
valid_metric: Recall@20
"""
    (tmp_path / "toys").mkdir()
    config = load(tmp_path, text.format(folder=tmp_path))
    assert config.data.dataset == str(tmp_path / "toys")
    assert (config.data.min_rating, config.data.user_core, config.data.item_core) == (3.0, 5, 2)
    assert (config.train.id.clip_norm, config.device, config.evaluation.metric) == (2.5, "cpu", "hr@20")


def test_recboles_bpr_draws_one_negative_for_each_position(tmp_path):
    negatives = "train_neg_sample_args: {distribution: uniform, sample_num: 1, alpha: 1.0, dynamic: false}"
    loss = load(tmp_path, f"model: SASRec\nloss_type: BPR\n{negatives}\n").train.id.loss
    assert (loss.kind, loss.negatives, loss.proposal, loss.shared_negatives) == ("bpr", 1, "uniform", False)
    assert load(tmp_path, "model: SASRec\nloss_type: CE\ntrain_neg_sample_args: ~\n").train.id.loss.kind == "softmax"


def test_what_is_not_reported_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        load(tmp_path, "metrics: [Recall, Precision, NDCG]\ntopk: [5, 50]\n")
    assert caplog.messages == ["not reported here: Precision, top 50; Hit, NDCG and MRR at 5, 10 and 20 are"]


def test_all_subsets_of_bridges_are_configurable():
    names = ["store", "mformer", "knowledge", "distill"]
    for chosen in itertools.product([True, False], repeat=4):
        tree = {"bridges": {name: {"enabled": on} for name, on in zip(names, chosen, strict=True)}}
        config = build_config(tree)
        assert tuple(getattr(config.bridges, name).enabled for name in names) == chosen


def test_a_data_path_without_the_folder_is_an_error_and_not_another_dataset(tmp_path, caplog):
    with pytest.raises(UserError, match=r"^data_path, dataset: no such folder: .*/nowhere/ml-1m$"):
        load(tmp_path, f"data_path: {tmp_path}/nowhere\ndataset: ml-1m\n")
    with caplog.at_level(logging.WARNING):
        assert load(tmp_path, f"data_path: {tmp_path}/nowhere\ndataset: ml-100k\n").data.dataset == "ml-100k"
    assert "the ml-100k that comes with RecBole is read" in caplog.text


@pytest.mark.parametrize(("steps", "patience"), [(0, 1), (10, 11)])
def test_recboles_stopping_step_is_one_less_than_the_patience(tmp_path, steps, patience):
    assert load(tmp_path, f"stopping_step: {steps}\n").train.id.patience == patience


def test_a_key_that_is_there_twice_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"the key 'train' is there twice.*line 3"):
        load(tmp_path, "train: {id: {learning_rate: 0.5}}\nname: a\ntrain: {id: {patience: 3}}\n")
    merged = load(tmp_path, "id: &shape {width: 16}\nclick: {<<: *shape, max_length: 7}\n")
    assert (merged.click.width, merged.click.max_length) == (16, 7)


@pytest.mark.parametrize("text", ["data:\n", "model: SASRec\ndataset: ml-100k\ndata:\n"])
def test_a_section_without_keys_has_the_defaults(tmp_path, text):
    assert load(tmp_path, text).data.cache_dir == DataConfig.cache_dir


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eval_args: \"{'split': {'RS': [0.8, 0.1, 0.1]}}\"\n", "^eval_args: expected keys such as split"),
        ("dataset: ml-100k\ndata: 3\n", "^data: expected keys and values, got 3"),
        ("model: [SASRec]\n", "SASRec"),
        ("? [a]\n: 1\n", "not valid yaml: .*unhashable key"),
    ],
)
def test_recbole_values_of_the_wrong_kind_are_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, text)


def test_bounds_between_two_numbers_are_rounded_up(tmp_path):
    config = load(tmp_path, 'user_inter_num_interval: "[4.5,inf)"\nitem_inter_num_interval: "(4.5,inf)"\n')
    assert (config.data.user_core, config.data.item_core) == (5, 5)


def test_the_home_directory_is_meant_by_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    config = load_config(None, ["data.cache_dir=~/cache", "output_dir=~/runs"])
    assert (config.data.cache_dir, config.output_dir) == ("/home/somebody/cache", "/home/somebody/runs")
