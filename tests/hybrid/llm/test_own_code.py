"""Python files that come with a model never run, whatever its configs ask for."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, LlamaForCausalLM

from hybrid.config.schema import LLMConfig
from hybrid.errors import UserError
from hybrid.llm.backbone import load_backbone
from hybrid.llm.gguf import convert_gguf
from hybrid.llm.tiny import tiny_config, tiny_tokenizer

AUTO_MAP = {name: f"evil.Evil{name}" for name in ("AutoConfig", "AutoModel", "AutoModelForCausalLM")}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A causal language model with a Python file that would write ``ran``."""
    folder = tmp_path / "model"
    LlamaForCausalLM(tiny_config(2)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    return folder


def add(path: Path, **keys: object) -> None:
    config = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**config, **keys}))


def load(directory: Path, tmp_path: Path) -> None:
    load_backbone(LLMConfig(name=str(directory), dtype="float32"), tmp_path / "cache", torch.device("cpu"))


BOTH_FILES = pytest.mark.parametrize(
    ("file", "auto_map"),
    [("config.json", AUTO_MAP), ("tokenizer_config.json", {"AutoTokenizer": ["evil.EvilTokenizer", None]})],
)


@BOTH_FILES
def test_a_known_model_is_loaded_by_transformers_own_classes(
    directory, tmp_path, monkeypatch, file: str, auto_map: dict[str, object]
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    add(directory / file, auto_map=auto_map)
    load(directory, tmp_path)
    assert not (tmp_path / "ran").exists()


@BOTH_FILES
def test_a_model_with_code_of_its_own_is_refused_in_one_line(
    directory, tmp_path, monkeypatch, capfd, file: str, auto_map: dict[str, object]
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    add(directory / "config.json", model_type="evil")
    add(directory / file, auto_map=auto_map)
    with pytest.raises(UserError, match=rf"{file} asks for Python code .*never run") as error:
        load(directory, tmp_path)
    assert "\n" not in str(error.value)
    assert "trust_remote_code" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    assert capfd.readouterr().out == ""


def test_configs_beside_a_gguf_file_may_not_name_code_either(directory, tmp_path) -> None:
    (directory / "config.json").unlink()
    add(directory / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.EvilTokenizer", None]})
    (directory / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match="never run"):
        convert_gguf(directory / "model.gguf", tmp_path / "converted")
    assert not (tmp_path / "ran").exists()


def test_every_reader_of_transformers_is_told_to_run_no_code(directory, tmp_path, monkeypatch) -> None:
    """What another file than the checked ones might ask for."""
    asked: list[object] = []

    def watch(cls: type) -> None:
        real = cls.from_pretrained  # type: ignore[attr-defined]

        def from_pretrained(*args: object, **kwargs: object) -> object:
            asked.append(kwargs.get("trust_remote_code", "not said"))
            return real(*args, **kwargs)

        monkeypatch.setattr(cls, "from_pretrained", from_pretrained)

    for cls in (AutoConfig, AutoModel, AutoTokenizer):
        watch(cls)
    load(directory, tmp_path)
    (tmp_path / "no.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match="cannot be read as a GGUF model"):
        convert_gguf(tmp_path / "no.gguf", tmp_path / "converted")
    assert len(asked) >= 4
    assert set(asked) == {False}
