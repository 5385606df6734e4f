"""A plain model beside a run is trained once for all runs that need the same one."""

import json
import logging

import pytest
import torch

from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.runs import train_run
from hybrid.system import build_system
from hybrid.training import plain_models
from hybrid.training.plain_models import _key, plain_model
from hybrid.training.run_directory import read_json
from idmodels.saved import load_id_model

ALONE = ("arm=llm2id", "bridges.mformer.enabled=false", "bridges.store.enabled=false", "train.schedule.rounds=1")
SHORT = ("arm=id_only", "train.schedule.id_length=3", "train.id.average=0.9")


class Shown:
    """What a monitor was given."""

    def __init__(self):
        self.points = []

    def scalars(self, prefix, values, step):
        self.points.append((prefix, dict(values), step))


def system_of(config):
    return build_system(config, split_training(prepare(config.data), config.data))


@pytest.fixture
def own(tiny, tmp_path):
    """A config with a cache of its own."""
    return lambda *settings: tiny(*SHORT, f"data.cache_dir={tmp_path / 'cache'}", *settings)


def made(config, units=6):
    shown = Shown()
    return plain_model("plain", system_of(config), units, shown, config.seed), shown.points


def test_the_second_run_has_the_first_ones_model_and_shows_its_curve(own, monkeypatch):
    first, shown = made(own())
    monkeypatch.setattr(plain_models, "train_source", lambda *_: pytest.fail("it was trained again"))
    second, shown_again = made(own())
    weights, again = first.model.state_dict(), second.model.state_dict()
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert second.curve == first.curve
    assert shown_again == shown
    assert len(shown) == len(first.curve)
    assert first.cached_s == 0 < second.cached_s


@pytest.mark.parametrize(
    "setting",
    [
        "seed=2",
        "id.dropout=0.2",
        "train.id.learning_rate=0.02",
        "train.schedule.id_length=4",
        "evaluation.metric=hr@10",
        "evaluation.mask_history=false",
        "data.user_core=6",
    ],
)
def test_what_it_depends_on_makes_it_another(own, setting):
    plain, other = own(), own(setting)
    assert _key(system_of(plain), 6, plain.seed) != _key(system_of(other), 6, other.seed)


def test_nothing_of_the_llm_does(own):
    plain, other = own(), own("arm=both", "train.llm.learning_rate=0.01", "train.schedule.llm_length=2", "name=other")
    assert _key(system_of(plain), 6, 1) == _key(system_of(other), 6, 1)
    assert _key(system_of(plain), 6, 1) != _key(system_of(plain), 6, 2)


def test_other_code_trains_another(own, monkeypatch):
    system = system_of(own())
    before = _key(system, 6, 1)
    monkeypatch.setattr(plain_models, "CODE", "changed")
    assert _key(system, 6, 1) != before


def test_a_run_with_a_model_from_the_cache_is_the_one_without(tiny, tmp_path):
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    runs = [train_run(tiny(f"name={name}", cache, "arm=both")) for name in ("cold", "warm")]
    records = [[json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()] for run in runs]
    cold, warm = ([{**record, "seconds": 0} for record in of_run] for of_run in records)
    assert cold == warm
    models = [load_id_model(run.best_id)[0].state_dict() for run in runs]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_a_damaged_file_is_trained_again_and_written_over(own, tmp_path):
    first, _ = made(own())
    (file,) = (tmp_path / "cache" / "plain").iterdir()
    good = file.read_bytes()
    file.write_bytes(good[:100])
    second, _ = made(own())
    assert second.curve == first.curve
    assert second.cached_s == 0
    assert made(own())[0].cached_s > 0


def test_a_cache_that_takes_nothing_is_no_reason_to_stop(own, tmp_path, caplog):
    config = own()
    prepare(config.data)
    (tmp_path / "cache" / "plain").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        plain, _ = made(config)
    assert "the plain model is not kept for other runs" in caplog.text
    assert len(plain.curve) == 6


def test_its_seconds_count_in_every_run_that_has_it(tiny, tmp_path, monkeypatch):
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    first = train_run(tiny("name=first", cache, *ALONE))
    read = plain_models._read
    monkeypatch.setattr(plain_models, "_read", lambda file: (*read(file)[:2], 1000.0))
    second = train_run(tiny("name=second", cache, *ALONE))
    assert read_json(first.time)["train_s"] < 1000 < read_json(second.time)["train_s"]
    assert read_json(first.path / "best" / "plain.json") == read_json(second.path / "best" / "plain.json")
