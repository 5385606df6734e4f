"""A tiny random Llama and a byte tokenizer, made in code: for tests and dry runs, without files or network."""

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hybrid.generators import forked_generators

TINY = "tiny-random"
LAYERS = 2
WIDTH = 32
END = "<|end|>"


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """One token per byte of UTF-8."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([END, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def tiny_config(layers: int) -> Any:
    """Llama with two heads of width 16; the vocabulary is that of `tiny_tokenizer`."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=257,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.2,  # wide enough for states that depend on what was read
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=True,
    )


def tiny_model(layers: int, seed: int, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Random weights drawn from ``seed``; the global generator does not move."""
    from transformers import LlamaModel

    with forked_generators(seed):
        model = LlamaModel(tiny_config(layers))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)  # `model.to` would round the rotary frequencies too
    return model
