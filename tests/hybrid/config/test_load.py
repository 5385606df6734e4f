"""One config from yaml, presets and overrides; what is wrong is said by key."""

import dataclasses
import itertools
from pathlib import Path

import pytest

from hybrid.config.describe import reference, settings
from hybrid.config.load import build_config, dump_config, load_config, preset_names, read_yaml
from hybrid.config.schema import Config
from hybrid.errors import UserError


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
        ("evaluation.metric=auc", "evaluation.metric: string should match pattern"),
        ("train.id.learning_rate=nan", "train.id.learning_rate: input should be"),
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
        ({"user_inter_num_interval": "[5,10]"}, "user_inter_num_interval: only intervals such as"),
    ],
)
def test_recbole_settings_that_mean_something_else_are_refused(tmp_path, tree, message):
    import yaml

    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        load_config(write(tmp_path / "r.yaml", yaml.safe_dump(tree)))


def test_all_subsets_of_bridges_are_configurable():
    names = ["store", "mformer", "knowledge", "distill"]
    for chosen in itertools.product([True, False], repeat=4):
        tree = {"bridges": {name: {"enabled": on} for name, on in zip(names, chosen, strict=True)}}
        config = build_config(tree)
        assert tuple(getattr(config.bridges, name).enabled for name in names) == chosen
