"""The LLM recommender: frozen backbone, LoRA adapter where it is tuned, soft prefix, suffix token and scorer.

Letters: B prompts, T tokens, H width, Q prefix tokens, M suffix slots, S item slots, N items, P score width.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from bridges.protocols import SlotKind, TopFeatures
from bridges.soft_tokens import learned_tokens
from hybrid.config.schema import LLMConfig
from hybrid.errors import UserError
from hybrid.llm.adapter import adapter_weights, attach_adapter, given_users
from hybrid.llm.backbone import Backbone
from hybrid.llm.item_reader import ItemReader
from hybrid.llm.prompts import Index, PromptBatch
from hybrid.llm.saved import load_recommender, save_recommender
from hybrid.llm.scorers import Scorer, create_scorer

NO_SLOTS: Mapping[SlotKind, Tensor] = MappingProxyType({})


class LLMRecommender(nn.Module):
    """A causal language model that reads titles and soft tokens and scores every item."""

    def __init__(
        self, backbone: Backbone, config: LLMConfig, n_items: int, id_width: int = 0, scorer: Scorer | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        lora = attach_adapter(backbone, config.lora, id_width) if config.tune == "lora" else None
        self.lm: nn.Module = backbone.model if lora is None else lora
        self.suffix = nn.Parameter(_ordinary_embedding(backbone))
        n_prefix = config.prompt.prefix_tokens
        self.prefix = learned_tokens(n_prefix, backbone.width, backbone.embedding_norm) if n_prefix else None
        self.scorer = scorer or create_scorer(config, n_items, backbone.width, id_width)
        self.reader = self._create_reader(n_items) if config.prompt.items == "vectors" else None
        self.dropout = nn.Dropout(config.prompt.vector_dropout if self.reader is not None else 0.0)
        # A list hides the callable from nn.Module: features belong to a bridge, not to these weights.
        self._item_features: list[Callable[[], Tensor]] = []
        for module in (self.scorer, self.reader):
            if module is not None:
                module.to(self.suffix.device)

    @property
    def scorer_kind(self) -> str:
        """Name of the scorer, kept with what is saved."""
        return self.config.scorer.kind

    @property
    def embedding_norm(self) -> float:
        """Mean length of an input embedding: the size a soft token should have."""
        return self.backbone.embedding_norm

    def _create_reader(self, n_items: int) -> ItemReader:
        width = self.backbone.width
        return ItemReader(n_items, width, self.config.whiten_width, width, self.embedding_norm)

    def attach_item_features(self, features: Callable[[], Tensor]) -> None:
        """Add ``features()`` [N, P] to the item vectors that the scorer compares, from now on."""
        self._item_features.append(features)

    def states(
        self, batch: PromptBatch, slots: Mapping[SlotKind, Tensor] = NO_SLOTS, users: Tensor | None = None
    ) -> Tensor:
        """States at the suffix slots, or at items read as vectors, [M, H] float32.

        ``slots`` holds the soft tokens: prefix [B, Q, H], user [B, H], item [S, H]; gradients flow into them. Without
        a prefix there the model's own learned one is taken. ``users`` [B, D] is what an adapter that depends on the
        user reads. Raises UserError where a slot of the prompts gets no token, or tokens do not fit.
        """
        return self.top_features(batch, slots, users).user

    def top_features(
        self, batch: PromptBatch, slots: Mapping[SlotKind, Tensor] = NO_SLOTS, users: Tensor | None = None
    ) -> TopFeatures:
        """Last states at the suffix slots and at the item slots, float32; see `states`."""
        hidden = self.hidden(self._embed(batch, slots), users)  # [B, T, H]
        return TopFeatures(
            hidden[batch.suffix_index].float(), batch.rows, hidden[batch.item_index].float(), batch.item_ids
        )

    def hidden(self, embeddings: Tensor, users: Tensor | None = None) -> Tensor:
        """Final states of input embeddings, [B, T, H] -> [B, T, H]; ``users`` [B, D]: see `states`.

        No mask: prompts are padded on the right, where a causal model's real positions never look, and without one
        attention runs its fastest kernel.
        """
        with given_users(self.lm, users):
            return self.lm(inputs_embeds=embeddings, use_cache=False).last_hidden_state

    def embed(self, tokens: Tensor) -> Tensor:
        """Input embeddings of token ids, [B, T] -> [B, T, H], without gradient."""
        with torch.no_grad():
            return self.backbone.model.get_input_embeddings()(tokens)

    def user_states(self, states: Tensor) -> Tensor:
        """States [M, H] in the score space, [M, P]."""
        return self.scorer.user(self.dropout(states))

    def item_matrix(self) -> Tensor:
        """Item matrix in the score space, [N, P]; row 0 is padding."""
        return self.scorer.items([features() for features in self._item_features])

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Adapter, soft prefix, suffix or the map of items to tokens, and scorer."""
        soft = [] if self.prefix is None else [self.prefix]
        reading = [self.suffix] if self.reader is None else self.reader.parameters()
        return [*adapter_weights(self.lm).values(), *soft, *reading, *self.scorer.parameters()]

    def save(self, directory: Path) -> None:
        """Write a PEFT directory with ``scorer.safetensors`` beside the adapter."""
        save_recommender(self, directory)

    def load(self, directory: Path) -> None:
        """Load what `save` wrote. Raises UserError where it was made for another base model, rank or catalogue."""
        load_recommender(self, directory)

    def _embed(self, batch: PromptBatch, slots: Mapping[SlotKind, Tensor]) -> Tensor:
        embeddings = self.embed(batch.tokens)
        places, soft = [], []
        asked: dict[SlotKind, Index] = {"prefix": batch.prefix_index, "user": batch.user_index}
        if self.reader is None:
            places.append(batch.suffix_index)
            soft.append(self.suffix.expand(len(batch.suffix_index[0]), -1))
            asked["item"] = batch.item_index
        else:
            places.append(batch.vector_index)
            soft.append(self._item_tokens(batch, slots))
        for kind, index in asked.items():
            if len(index[0]):
                places.append(index)
                soft.append(self._soft_tokens(kind, len(index[0]), slots))
        values = torch.cat([tokens.to(embeddings.dtype) for tokens in soft])
        prompt, time = (torch.cat(parts) for parts in zip(*places, strict=True))
        return embeddings.index_put((prompt, time), values)

    def _item_tokens(self, batch: PromptBatch, slots: Mapping[SlotKind, Tensor]) -> Tensor:
        """The tokens [I, H] of items read as vectors, and what a bridge adds to them."""
        assert self.reader is not None
        tokens = self.reader(batch.vector_ids)
        if count := len(batch.item_index[0]):
            tokens = tokens + self._soft_tokens("item", count, slots)
        return self.dropout(tokens)

    def _soft_tokens(self, kind: SlotKind, count: int, slots: Mapping[SlotKind, Tensor]) -> Tensor:
        if kind == "prefix" and kind not in slots and self.prefix is not None:
            return self.prefix.repeat(count // len(self.prefix), 1)
        if kind not in slots:
            raise UserError(f"the prompts have {count} {kind} slots, but no bridge fills them")
        tokens, width = slots[kind], self.backbone.width
        if tokens.shape[-1] != width or tokens.numel() != count * width:
            raise UserError(f"{count} {kind} slots of width {width} cannot take tokens of shape {tuple(tokens.shape)}")
        return tokens.reshape(count, width)


def _ordinary_embedding(backbone: Backbone) -> Tensor:
    """The mean word, as long as a word: a neutral start that the model has seen the like of; [H] float32."""
    mean = backbone.embeddings.detach().float().mean(dim=0)
    return mean * (backbone.embedding_norm / mean.norm())
