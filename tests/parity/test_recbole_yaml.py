"""A yaml written for RecBole trains here unchanged, on the same split, and both sides read the same model from it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hybrid.cli import main
from hybrid.config.load import load_config
from hybrid.data.prepare import prepare
from hybrid.evaluation.test_part import open_test
from idmodels.recbole_compat import recbole_config
from idmodels.saved import load_id_model

YAML = Path(__file__).with_name("sasrec.yaml")


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    """A folder with the dataset "tiny": 30 users who walk round a cycle of 10 items, some of them rated low."""
    random = np.random.default_rng(4)
    rows = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(30):
        start = random.integers(10)
        for step in range(4 + user % 6):
            rating = 2 if random.random() < 0.1 else 5
            rows.append(f"u{user}\ti{(start + step) % 10}\t{rating}\t{1_300_000_000 + 50 * step}")
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tiny.inter").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder.parent


def test_it_trains_and_evaluates(data_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"data_path={data_path}", "dataset=tiny", f"checkpoint_dir={tmp_path}/saved"]
    assert main(["train", str(YAML), *places, f"data.cache_dir={tmp_path}/cache"]) == 0
    run = tmp_path / "saved" / "run"
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len([line for line in epochs if line.get("side") == "id"]) == 3
    model, _ = load_id_model(run / "best" / "id")
    assert (model.settings.model, model.width, model.settings.max_length) == ("sasrec", 16, 20)
    assert main(["evaluate", str(run)]) == 0
    assert "history items ranked too" in capsys.readouterr().out


def test_both_read_the_same_from_it(data_path: Path, tmp_path: Path, recbole_parts: Any) -> None:
    tree = yaml.safe_load(YAML.read_text(encoding="utf-8"))
    tree["layer_norm_eps"] = float(tree["layer_norm_eps"])  # RecBole reads its files with a yaml of its own
    tree |= {"gpu_id": "", "data_path": str(data_path)}
    theirs = recbole_parts("tiny", **{key: value for key, value in tree.items() if key != "model"})
    places = [f"data_path={data_path}", "dataset=tiny", f"data.cache_dir={tmp_path}/cache"]
    config = load_config(YAML, places)
    dataset = prepare(config.data, log=lambda line: None)
    assert theirs.dataset.field2id_token["item_id"].tolist() == dataset.item_ids
    assert theirs.dataset.field2id_token["user_id"].tolist()[1:] == dataset.user_ids
    assert dataset.n_users < 30  # the filters drop somebody
    feat, targets = theirs.test.inter_feat, open_test(dataset, config.data)
    their_tests = sorted(zip((feat["user_id"] - 1).tolist(), feat["item_id"].tolist(), strict=True))
    assert their_tests == list(zip(targets.users.tolist(), targets.items.tolist(), strict=True))
    assert theirs.config["learning_rate"] == config.train.id.learning_rate
    assert theirs.config["train_batch_size"] == config.train.id.batch_targets
    assert theirs.config["epochs"] == config.train.schedule.id_length
    assert config.arm == "id_only"


def test_a_yaml_of_a_model_that_is_recboles_alone_trains_it_with_its_own_settings(
    data_path: Path, tmp_path: Path
) -> None:
    tree = yaml.safe_load(YAML.read_text(encoding="utf-8"))
    shape = ("n_layers", "n_heads", "hidden_size", "inner_size", "hidden_dropout_prob", "attn_dropout_prob")
    tree = {key: value for key, value in tree.items() if key not in (*shape, "hidden_act", "layer_norm_eps")}
    own = {"model": "NARM", "embedding_size": 16, "hidden_size": 24, "n_layers": 1, "dropout_probs": [0.1, 0.2]}
    path = tmp_path / "narm.yaml"
    path.write_text(yaml.safe_dump(tree | own), encoding="utf-8")
    places = [f"data_path={data_path}", "dataset=tiny", f"checkpoint_dir={tmp_path}/saved"]
    assert main(["train", str(path), *places, f"data.cache_dir={tmp_path}/cache"]) == 0
    model, _ = load_id_model(tmp_path / "saved" / "run" / "best" / "id")
    assert (model.settings.model, model.settings.max_length) == ("recbole:NARM", 20)
    assert model.settings.recbole == {"loss_type": "CE"} | {key: own[key] for key in own if key != "model"}
    theirs = recbole_config(
        "NARM", "none", {key: own[key] for key in own if key != "model"} | {"train_neg_sample_args": None}
    )
    for key in ("embedding_size", "hidden_size", "n_layers", "dropout_probs", "loss_type"):
        assert model.zoo.config[key] == theirs[key]
