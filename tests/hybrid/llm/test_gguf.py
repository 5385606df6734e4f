"""A GGUF file written here comes back as the model that it was written from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter, TokenType
from safetensors import SafetensorError
from safetensors.torch import load_file

from hybrid.config.schema import LLMConfig
from hybrid.errors import UserError
from hybrid.llm import gguf as gguf_module
from hybrid.llm.backbone import load_backbone
from hybrid.llm.tiny import tiny_model, tiny_tokenizer
from hybrid.llm.vocabulary import load_vocabulary

CPU = torch.device("cpu")
TOKENS = torch.arange(1, 9)[None]
NAMES = {
    "embed_tokens": "token_embd",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
    "layers": "blk",
}


def gguf_name(name: str) -> str:
    if name == "norm.weight":
        return "output_norm.weight"
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def gguf_weight(name: str, weight: np.ndarray) -> np.ndarray:
    """llama.cpp pairs neighbouring rows in its rotary embedding, transformers the two halves of a head."""
    heads = {"q_proj": 2, "k_proj": 1}
    for part, count in heads.items():
        if part in name:
            return weight.reshape(count, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
    return weight


@pytest.fixture
def model() -> torch.nn.Module:
    """Weights that bfloat16 holds exactly."""
    model = tiny_model(2, seed=5)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    return model


@pytest.fixture
def file(tmp_path: Path, model: torch.nn.Module) -> Path:
    return write(model, tmp_path)


def write(model: torch.nn.Module, tmp_path: Path, head: torch.Tensor | None = None) -> Path:
    """The model's file; ``head`` [V, H]: a projection of its own."""
    writer = GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_block_count(2)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(257)
    words = sorted(tiny_tokenizer().get_vocab(), key=tiny_tokenizer().get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([TokenType.CONTROL, *[TokenType.NORMAL] * 256])
    writer.add_token_scores([0.0] * 257)
    writer.add_eos_token_id(0)
    for name, weight in model.state_dict().items():
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(gguf_weight(name, weight.numpy())))
    if head is not None:
        writer.add_tensor("output.weight", head.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "tiny.gguf"


def load(file: Path, tmp_path: Path, num_layers: int = 0):
    config = LLMConfig(name=str(file), dtype="float32", num_layers=num_layers)
    return load_backbone(config, tmp_path / "cache", CPU)


def test_states_are_those_of_the_original_model(file: Path, model, tmp_path: Path, capfd) -> None:
    loaded = load(file, tmp_path)
    assert capfd.readouterr() == ("", "")
    torch.testing.assert_close(loaded.model(TOKENS).last_hidden_state, model(TOKENS).last_hidden_state)
    assert loaded.tokenizer("Heat (1995)").input_ids == tiny_tokenizer()("Heat (1995)").input_ids
    assert load(file, tmp_path, num_layers=1).layers == 1


def test_a_head_of_its_own_is_kept_and_one_that_is_the_embeddings_is_not_doubled(model, tmp_path: Path) -> None:
    head = torch.randn(257, 32).bfloat16().float()
    loaded = load(write(model, tmp_path, head), tmp_path)
    assert torch.equal(load_vocabulary(loaded).weight, head)
    torch.testing.assert_close(loaded.model(TOKENS).last_hidden_state, model(TOKENS).last_hidden_state)
    (tmp_path / "tied").mkdir()
    tied = load(write(model, tmp_path / "tied"), tmp_path / "tied")
    assert torch.equal(load_vocabulary(tied).weight, tied.embeddings)
    assert "lm_head.weight" not in load_file(tied.directory / "model.safetensors")


def test_a_file_is_converted_once(file: Path, tmp_path: Path, monkeypatch) -> None:
    first = load(file, tmp_path).fingerprint
    monkeypatch.setattr(gguf_module, "_read", lambda source: pytest.fail("converted again"))
    assert load(file, tmp_path).fingerprint == first


def test_an_interrupted_conversion_leaves_nothing_that_looks_complete(file: Path, tmp_path: Path, monkeypatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(gguf_module, "save_file", full_disk)
        with pytest.raises(UserError, match=r"cannot write the converted model .*No space left on device"):
            load(file, tmp_path)
    assert list((tmp_path / "cache/llm").iterdir()) == []
    assert load(file, tmp_path).layers == 2
