import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from hybrid.errors import UserError
from hybrid.export import recbole, safetensors
from idmodels.registry import create_id_model
from idmodels.saved import load_id_model, save_id_model
from idmodels.settings import IDSettings

IDS = ["[PAD]", "a", "é", "c"]
FORMS = [safetensors.export_id_model, recbole.export_id_model]
Export = Callable[[Path, Path], None]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    settings = IDSettings("sasrec", width=8, max_length=5, layers=1, inner_width=12)
    save_id_model(create_id_model(len(IDS), settings), tmp_path / "saved", IDS)
    return tmp_path / "saved"


def test_safetensors_form_scores_as_the_saved_model(saved: Path, tmp_path: Path) -> None:
    safetensors.export_id_model(saved, tmp_path / "out")
    (model, ids), (original, _) = load_id_model(tmp_path / "out"), load_id_model(saved)
    history = torch.tensor([[1, 2, 3]])
    assert torch.equal(model.encode(history), original.encode(history))
    assert ids == IDS


def test_recbole_form_holds_plain_values_under_recboles_keys(saved: Path, tmp_path: Path) -> None:
    recbole.export_id_model(saved, tmp_path / "out")
    checkpoint = torch.load(tmp_path / "out" / "model.pth", weights_only=True)
    assert set(checkpoint) == {
        "config",
        "epoch",
        "cur_step",
        "best_valid_score",
        "state_dict",
        "n_items",
        "other_parameter",
        "optimizer",
    }
    config = yaml.safe_load((tmp_path / "out" / "recbole.yaml").read_text())
    assert config == checkpoint["config"]
    assert (config["model"], config["hidden_size"], config["MAX_ITEM_LIST_LENGTH"]) == ("SASRec", 8, 5)
    assert json.loads((tmp_path / "out" / "item_ids.json").read_text(encoding="utf-8")) == IDS
    assert torch.equal(checkpoint["state_dict"]["item_embedding.weight"], load_id_model(saved)[0].item_embedding.weight)


@pytest.mark.parametrize("export", FORMS)
def test_exporting_again_replaces_the_export(saved: Path, tmp_path: Path, export: Export) -> None:
    export(saved, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    export(saved, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


@pytest.mark.parametrize("export", FORMS)
def test_source_that_is_no_model(tmp_path: Path, export: Export) -> None:
    with pytest.raises(UserError, match=r"no config\.json; not a saved ID model"):
        export(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("export", FORMS)
def test_a_folder_of_other_files_is_left_alone(saved: Path, tmp_path: Path, export: Export) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files \(notes\.txt"):
        export(saved, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("export", FORMS)
def test_a_place_that_cannot_be_written(saved: Path, tmp_path: Path, export: Export) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not written"):
        export(saved, tmp_path / "file" / "out")


def test_loading_what_is_no_recbole_export(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model\.pth"):
        recbole.load_into_recbole(saved)
    (tmp_path / "model.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="not a checkpoint of an exported ID model"):
        recbole.load_into_recbole(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "model.pth")
    with pytest.raises(UserError, match="not a checkpoint of an exported ID model"):
        recbole.load_into_recbole(tmp_path)


@pytest.mark.parametrize(("temperature", "said"), [(0.0, False), (0.05, True)])
def test_the_recbole_form_of_cosines_says_that_it_only_ranks_alike(
    tmp_path: Path, temperature: float, said: bool
) -> None:
    settings = IDSettings("sasrec", width=8, max_length=5, layers=1, inner_width=12, temperature=temperature)
    save_id_model(create_id_model(len(IDS), settings), tmp_path / "saved", IDS)
    recbole.export_id_model(tmp_path / "saved", tmp_path / "out")
    assert ("cosines / 0.05" in (tmp_path / "out" / "README.md").read_text()) == said
