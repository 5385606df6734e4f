import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.registry import create_id_model
from idmodels.saved import load_id_model, save_id_model
from idmodels.settings import IDSettings

N_ITEMS = 13
SmallSettings = Callable[..., IDSettings]


@pytest.fixture
def saved(tmp_path: Path, small_settings: SmallSettings) -> Path:
    torch.manual_seed(0)
    save_id_model(create_id_model(N_ITEMS, small_settings("sasrec")), tmp_path / "saved", None, {"step": 7})
    return tmp_path / "saved"


def test_folder_holds_the_four_files_only(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "config.json",
        "item_ids.json",
        "model.safetensors",
    ]
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]
    config = json.loads((saved / "config.json").read_text())
    assert (config["model"], config["n_items"], config["extra"]) == ("sasrec", N_ITEMS, {"step": 7})


def test_saving_again_replaces_the_folder(saved: Path, small_settings: SmallSettings) -> None:
    other = create_id_model(5, small_settings("gru4rec"))
    save_id_model(other, saved, None)
    assert load_id_model(saved)[0].n_items == 5


def test_a_failed_save_leaves_the_old_one(saved: Path, small_settings: SmallSettings) -> None:
    before = (saved / "model.safetensors").read_bytes()
    with pytest.raises(TypeError):
        save_id_model(create_id_model(5, small_settings("sasrec")), saved, None, {"not json": object()})
    assert (saved / "model.safetensors").read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_other_files_are_not_lost(saved: Path, small_settings: SmallSettings) -> None:
    (saved / "thesis.tex").write_text("years of work")
    with pytest.raises(IDModelError, match=r"holds other files \(thesis.tex"):
        save_id_model(create_id_model(5, small_settings("sasrec")), saved, None)
    assert (saved / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_way(tmp_path: Path, small_settings: SmallSettings) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IDModelError, match="is a file"):
        save_id_model(create_id_model(5, small_settings("sasrec")), tmp_path / "file", None)


def test_item_ids_of_another_catalogue(tmp_path: Path, model: IDModel) -> None:
    with pytest.raises(IDModelError, match="3 item ids, but the item table has 13 rows"):
        save_id_model(model, tmp_path / "saved", ["[PAD]", "a", "b"])
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "item_ids.json"])
def test_missing_file(saved: Path, file: str) -> None:
    (saved / file).unlink()
    with pytest.raises(IDModelError, match=f"no {file}"):
        load_id_model(saved)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "item_ids.json"])
def test_damaged_file(saved: Path, file: str) -> None:
    (saved / file).write_bytes((saved / file).read_bytes()[:20])
    with pytest.raises(IDModelError, match=f"{file}: not readable"):
        load_id_model(saved)


def _edit(saved: Path, **changes: object) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format version 99, this program reads 1"),
        ({"n_items": "many"}, "n_items is missing or not of type int"),
        ({"model": "gru4rec"}, "model is 'gru4rec', but settings.model 'sasrec'"),
        ({"settings": {"model": "sasrec", "widht": 3}}, "settings: .*widht"),
        ({"settings": {"model": "sasrec", "width": 0}}, "width must be at least 1, got 0"),
        ({"n_items": 20}, r"item_embedding.weight has shape \[13, 8\], the model's settings ask for \[20, 8\]"),
    ],
)
def test_config_that_does_not_fit(saved: Path, changes: dict, message: str) -> None:
    _edit(saved, **changes)
    with pytest.raises(IDModelError, match=message):
        load_id_model(saved)


def test_unknown_model_in_both_places(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    _edit(saved, model="sasrek", settings=config["settings"] | {"model": "sasrek"})
    with pytest.raises(IDModelError, match="did you mean 'sasrec'"):
        load_id_model(saved)


def test_config_of_something_else(saved: Path) -> None:
    (saved / "config.json").write_text("[1, 2]")
    with pytest.raises(IDModelError, match="not the config of a saved ID model"):
        load_id_model(saved)


def test_weights_of_another_model(saved: Path) -> None:
    state = load_file(saved / "model.safetensors")
    bias = state.pop("LayerNorm.bias")
    save_file(state, saved / "model.safetensors")
    with pytest.raises(IDModelError, match=r"no weight 'LayerNorm\.bias'"):
        load_id_model(saved)
    save_file(state | {"LayerNorm.bias": bias, "extra": bias.clone()}, saved / "model.safetensors")
    with pytest.raises(IDModelError, match="sasrec has no weight 'extra'"):
        load_id_model(saved)


def test_item_ids_that_do_not_fit(saved: Path) -> None:
    (saved / "item_ids.json").write_text('["[PAD]", "a"]')
    with pytest.raises(IDModelError, match=r"2 item ids, but config.json says n_items 13"):
        load_id_model(saved)


def test_loads_where_only_idmodels_can_be_imported(saved: Path) -> None:
    program = """
import sys
for name in ("hybrid", "bridges", "transformers", "peft", "recbole", "pandas", "pydantic"):
    sys.modules[name] = None
import torch
from idmodels.saved import load_id_model
from idmodels.scoring import last_states
model, ids = load_id_model(sys.argv[1])
scores = last_states(model, torch.tensor([[1, 2]]), torch.tensor([2])) @ model.item_table().T
print(len(ids), scores.shape[1], f"{scores.sum().item():.4f}")
"""
    ran = subprocess.run([sys.executable, "-c", program, str(saved)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    model, _ = load_id_model(saved)
    scores = model.encode(torch.tensor([[1, 2]]))[:, 1] @ model.item_table().T
    assert ran.stdout.split() == ["13", "13", f"{scores.sum().item():.4f}"]
