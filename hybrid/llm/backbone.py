"""The language model without its head, frozen, with some of its lowest layers kept.

Letters: T tokens, H width.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hybrid.config.schema import LLMConfig
from hybrid.errors import UserError
from hybrid.generators import forked_generators
from hybrid.llm.bundled import BUNDLED, bundled_directory
from hybrid.llm.fingerprint import directory_hash, file_sha256, short_hash, weights_hash
from hybrid.llm.gguf import convert_gguf
from hybrid.llm.hub import hub_directory
from hybrid.llm.own_code import refuse_code
from hybrid.llm.quiet import quiet_transformers
from hybrid.llm.tiny import LAYERS, TINY, tiny_model, tiny_tokenizer
from idmodels.precision import choose_dtype

CONTEXT = ("max_position_embeddings", "max_seq_len", "seq_length", "n_positions")
"""What configs call the tokens that can be read at once."""


@dataclass
class Backbone:
    """A frozen causal language model, without vocabulary projection."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    width: int
    """H."""
    name: str
    """As the config names it."""
    fingerprint: str
    """16 hex digits that stand for the weights, the tokenizer and the number of layers."""
    directory: Path | None = None
    """Where the files are; None for tiny-random."""
    drawn_by: int | None = None
    """Seed of weights that stand in for those of the files; None: the files' are used."""

    @property
    def layers(self) -> int:
        """Layers that were kept."""
        return int(self.model.config.num_hidden_layers)

    @property
    def context(self) -> int:
        """Tokens that can be read at once; without limit where the model's config names none."""
        known = (getattr(self.model.config, name, None) for name in CONTEXT)
        return next((int(size) for size in known if size), sys.maxsize)

    @property
    def embeddings(self) -> Tensor:
        """Input embeddings of all tokens, [vocabulary, H]."""
        return cast(nn.Embedding, self.model.get_input_embeddings()).weight

    @property
    def embedding_norm(self) -> float:
        """Mean length of a word as the layers get it: the size a soft token should have.

        Some models (Gemma) scale the rows of `embeddings` when they look them up.
        """
        look_up = cast(nn.Embedding, self.model.get_input_embeddings())
        some = torch.arange(min(16, len(self.embeddings)), device=self.embeddings.device)
        with torch.no_grad():
            scale = look_up(some).float().norm() / self.embeddings[some].float().norm()
            return float(self.embeddings.float().norm(dim=1).mean() * scale)


def load_backbone(
    config: LLMConfig, cache_dir: Path, device: torch.device, seed: int = 0, random_weights: bool = False
) -> Backbone:
    """Load the model that ``config.name`` names; ``seed`` is that of tiny-random's weights.

    With ``random_weights`` only its shape and its tokenizer are taken, and ``seed`` draws the weights.

    Raises UserError where the name leads nowhere, the model is not a causal language model or has fewer layers than
    asked for; all of that before weights are loaded.
    """
    from transformers import AutoModel

    dtype, directory = choose_dtype(config.dtype, device), None
    if config.name == TINY:
        layers = _layers_to_keep(config, LAYERS)
        model, tokenizer = tiny_model(layers, seed, dtype), tiny_tokenizer()
        content = weights_hash(model.named_parameters())
    else:
        directory = _directory(config, cache_dir)
        model_config = _checked_config(config, directory)
        layers = model_config.num_hidden_layers
        tokenizer = _tokenizer(directory, config.name)
        model = read_model(AutoModel, directory, model_config, dtype, config.name)
        content = directory_hash(directory, cache_dir)
        if random_weights:
            model = draw_model(AutoModel, model_config, dtype, seed)
            content = weights_hash(model.named_parameters())
    nn.Module.to(model, device=device).requires_grad_(False).eval()
    return Backbone(
        model, tokenizer, model.config.hidden_size, config.name, short_hash(content, layers), directory,
        drawn_by=seed if random_weights else None,
    )  # fmt: skip


def _directory(config: LLMConfig, cache_dir: Path) -> Path:
    path = Path(config.name).expanduser()
    if config.name == BUNDLED:
        return bundled_directory(cache_dir)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"llm.name: no such file: {path}")
        return convert_gguf(path, cache_dir / "llm" / f"{path.stem}-{file_sha256(path)[:12]}")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"llm.name: {path} is not a model directory: it has no config.json")
        return path
    if config.name.startswith((".", "/", "~")) or config.name.count("/") > 1:
        raise UserError(f"llm.name: no such directory: {path}")
    return hub_directory(config.name, config.revision)


def _checked_config(config: LLMConfig, directory: Path) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    refuse_code(directory)
    try:
        with quiet_transformers():
            found = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:  # transformers raises many types for a broken or unknown config
        raise UserError(f"llm.name: {directory / 'config.json'}: {' '.join(str(error).split())[:300]}") from None
    is_causal = found.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not found.is_encoder_decoder
    # Encoders such as BERT are in that list too; only they say that they are no decoder.
    if not is_causal or found.get_text_config() is not found or getattr(found, "is_decoder", None) is False:
        raise UserError(f"llm.name: {config.name} ({found.model_type}) is not a text-only causal language model")
    keep_layers(found, _layers_to_keep(config, found.num_hidden_layers))
    return found


def keep_layers(config: Any, layers: int) -> None:
    """Make ``config`` that of the model with only its lowest layers."""
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]


def _layers_to_keep(config: LLMConfig, available: int) -> int:
    if config.num_layers > available:
        raise UserError(f"llm.num_layers is {config.num_layers}, but {config.name} has only {available} layers")
    return config.num_layers or available


def draw_model(kind: Any, config: Any, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """A model of this shape as it is before any training; ``kind`` is AutoModel, or one with a head.

    The head is drawn last, so both kinds have the same weights but for it.
    """
    with forked_generators(seed):
        return cast(PreTrainedModel, kind.from_config(config, dtype=dtype))


def read_model(kind: Any, directory: Path, config: Any, dtype: torch.dtype, name: str) -> PreTrainedModel:
    """The files' weights in a model of ``config``; ``kind`` is AutoModel, or one with a head.

    Raises UserError where they cannot be read or some are missing.
    """
    try:
        with quiet_transformers():
            model, report = kind.from_pretrained(
                directory, config=config, dtype=dtype, output_loading_info=True, trust_remote_code=False
            )
    except Exception as error:  # transformers raises many types for missing or damaged files
        raise _unreadable(name, error) from None
    if report["missing_keys"]:
        raise UserError(f"llm.name: {name}: {directory} lacks weights, e.g. {sorted(report['missing_keys'])[0]}")
    return cast(PreTrainedModel, model)


def _tokenizer(directory: Path, name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(directory, trust_remote_code=False))
    except Exception as error:  # transformers raises many types for missing or damaged files
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> UserError:
    return UserError(f"llm.name: {name} cannot be loaded: {' '.join(str(error).split())[:300]}")
