"""The way from states to words is transformers' own, whatever a model does with its logits."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    FalconH1Config,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    MptConfig,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RecurrentGemmaConfig,
    xLSTMConfig,
)

from hybrid.config.schema import LLMConfig
from hybrid.ctr.yes_no import YesNo
from hybrid.errors import UserError
from hybrid.instruct.likelihood import title_likelihoods
from hybrid.instruct.speaker import Speaker
from hybrid.llm.backbone import Backbone, load_backbone
from hybrid.llm.tiny import tiny_tokenizer
from hybrid.llm.vocabulary import load_vocabulary, logit_scale, logit_softcap

TOKENS = torch.arange(1, 9)[None]
NO, YES = 70, 5
SCALED = {
    "plain": (LlamaConfig, {}),
    "softcap": (Gemma2Config, {"final_logit_softcapping": 1.5, "head_dim": 16}),
    "divided": (GraniteConfig, {"logits_scaling": 4.0}),
    "multiplied": (CohereConfig, {"logit_scale": 0.25}),
}


def tiny(kind: type[PreTrainedConfig], **settings: object) -> PreTrainedConfig:
    return kind(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, initializer_range=0.2, bos_token_id=None, eos_token_id=0, pad_token_id=0, **settings,
    )  # fmt: skip


def saved(config: PreTrainedConfig, folder: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return model


def load(folder: Path, **settings: object) -> Backbone:
    config = LLMConfig(name=str(folder), dtype="float32")
    return load_backbone(config, folder.parent / "cache", torch.device("cpu"), **settings)


@pytest.fixture(params=SCALED)
def settings(request) -> tuple[type[PreTrainedConfig], dict[str, object]]:
    return SCALED[request.param]


@pytest.fixture(params=[True, False], ids=["shared", "own"])
def pair(request, settings, tmp_path: Path) -> tuple[Backbone, PreTrainedModel]:
    """A backbone and the same model as transformers has it, with a head that is its input embeddings, or is not."""
    kind, changes = settings
    whole = saved(tiny(kind, tie_word_embeddings=request.param, **changes), tmp_path / "model")
    return load(tmp_path / "model"), whole


@torch.no_grad()
def test_logits_are_those_of_transformers(pair) -> None:
    backbone, whole = pair
    states, expected = backbone.model(TOKENS).last_hidden_state, whole(TOKENS).logits
    torch.testing.assert_close(load_vocabulary(backbone).logits(states), expected)
    torch.testing.assert_close(load_vocabulary(backbone, [NO, YES]).logits(states), expected[..., [NO, YES]])


@torch.no_grad()
def test_title_likelihoods_are_those_of_transformers(pair) -> None:
    backbone, whole = pair
    speaker = Speaker(backbone.model, load_vocabulary(backbone)).eval()
    found = title_likelihoods(speaker, TOKENS[0].tolist(), [[20, 0], [21, 30, 0]], normalise=False)
    for title, score in zip(([20, 0], [21, 30, 0]), found, strict=True):
        read = torch.tensor([[*TOKENS[0].tolist(), *title[:-1]]])
        spoken = whole(read).logits[0, -len(title) :].log_softmax(dim=-1)
        expected = spoken[torch.arange(len(title)), torch.tensor(title)].sum()
        torch.testing.assert_close(score, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_log_odds_of_the_answers_are_those_of_transformers(pair) -> None:
    backbone, whole = pair
    states, logits = backbone.model(TOKENS).last_hidden_state[:, -1], whole(TOKENS).logits[:, -1]
    torch.testing.assert_close(YesNo(backbone, NO, YES).log_odds(states), logits[:, YES] - logits[:, NO])


@torch.no_grad()
def test_random_weights_have_the_head_that_is_drawn_with_them(settings, tmp_path: Path) -> None:
    kind, changes = settings
    config = tiny(kind, tie_word_embeddings=False, **changes)
    saved(config, tmp_path / "model")
    backbone = load(tmp_path / "model", seed=7, random_weights=True)
    torch.manual_seed(7)
    drawn = AutoModelForCausalLM.from_config(config).eval()
    states = backbone.model(TOKENS).last_hidden_state
    torch.testing.assert_close(load_vocabulary(backbone).logits(states), drawn(TOKENS).logits)


@torch.no_grad()
def test_a_bias_is_part_of_it(tmp_path: Path) -> None:
    whole = saved(tiny(PhiConfig, tie_word_embeddings=False), tmp_path / "model")
    whole.lm_head.bias.normal_()
    whole.save_pretrained(tmp_path / "model")
    backbone = load(tmp_path / "model")
    states, expected = backbone.model(TOKENS).last_hidden_state, whole(TOKENS).logits
    torch.testing.assert_close(load_vocabulary(backbone, [NO, YES]).logits(states), expected[..., [NO, YES]])


def test_a_shared_projection_is_not_copied(backbone: Backbone) -> None:
    assert load_vocabulary(backbone).weight.data_ptr() == backbone.embeddings.data_ptr()


def test_files_without_a_projection_are_an_error(tmp_path: Path) -> None:
    whole = saved(tiny(LlamaConfig, tie_word_embeddings=False), tmp_path / "model")
    whole.model.save_pretrained(tmp_path / "model")  # the same without head
    with pytest.raises(UserError, match=r"model lacks weights, e\.g\. lm_head\.weight"):
        load_vocabulary(load(tmp_path / "model"))


@pytest.mark.parametrize(
    ("config", "scale", "softcap"),
    [
        (FalconH1Config(lm_head_multiplier=0.5), 0.5, 0),
        (RecurrentGemmaConfig(logits_soft_cap=20.0), 1, 20),
        (xLSTMConfig(output_logit_soft_cap=10.0), 1, 10),
        (MptConfig(logit_scale="inv_sqrt_d_model"), 1, 0),
        (Gemma2Config(final_logit_softcapping=None), 1, 0),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_other_names_of_the_same_settings(config: PreTrainedConfig, scale: float, softcap: float) -> None:
    assert (logit_scale(config), logit_softcap(config)) == (scale, softcap)
