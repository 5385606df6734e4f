"""M-Former: query experts read the ID model's states and write the LLM's prefix (Laser, arXiv 2409.01605 §2.3).

Where this differs from the paper: blocks are pre-norm; the ID states are layer-normalised before they are read, so that
any ID model will do; states of several ID models are mapped to one width and read as one long history; the chosen
expert's prefix may be multiplied by its router share (``gate``), without which the router learns from the balance loss
alone; the balance loss is taken over all real items of the batch; prompts without a history get a learned prefix; the
prefix starts as long as the LLM's embeddings.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.mformer_blocks import Block
from bridges.mformer_router import Router, Routing, entropy
from bridges.protocols import Bridge, Direction, Place, PromptContext, SlotFill, SlotKind
from bridges.running import RunningMeans
from bridges.soft_tokens import EmbeddingSize, learned_tokens


class MFormer(Bridge):
    """E experts of Q query tokens each; every prompt is read by one of them.

    Raises BridgeError for a size below one or a width that the heads don't divide.
    """

    name: ClassVar[str] = "mformer"
    direction: ClassVar[Direction] = "id2llm"
    place: ClassVar[Place] = "prompt"
    needs_id_states: ClassVar[bool] = True

    def __init__(
        self,
        id_width: int,
        llm_width: int,
        embedding_norm: float,
        other_widths: tuple[int, ...],
        experts: int,
        queries: int,
        width: int,
        blocks: int,
        heads: int,
        gate: bool,
        balance_weight: float,
    ) -> None:
        super().__init__()
        _check_sizes(experts=experts, queries=queries, width=width, blocks=blocks, heads=heads)
        self.gate = gate
        self.balance_weight = balance_weight
        widths = (id_width, *other_widths) if other_widths else ()
        self.inputs = nn.ModuleList(nn.Linear(width, id_width) for width in widths)
        self.router = Router(id_width, experts)
        self.experts = nn.Parameter(QUERY_STD * torch.randn(experts, queries, width))
        self.blocks = nn.ModuleList(Block(width, id_width, heads, crosses=i % 2 == 0) for i in range(blocks))
        # An undecided router has share 1 / E: with the gate on, E times the size makes up for it.
        size = embedding_norm * (experts if gate else 1)
        self.output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, llm_width), EmbeddingSize(llm_width, size))
        self.no_history = learned_tokens(queries, llm_width, embedding_norm)
        self._means = RunningMeans([*_usage_names(experts), "router_entropy"])

    def slots(self) -> dict[SlotKind, int]:
        """A prefix of Q tokens."""
        return {"prefix": self.experts.shape[1]}

    def fill_slots(self, context: PromptContext) -> SlotFill:
        """``prefix`` [B, Q, H], and the balance loss times its weight where a prompt has a history."""
        filled = context.id_mask.any(dim=1)  # [B]
        prefix = self.no_history.expand(len(filled), -1, -1)  # [B, Q, H]
        if not filled.any():
            return SlotFill({"prefix": prefix})
        read, routing = self._read(*self._memory(context, filled))
        if self.training:
            self._count(routing)
        loss = self.balance_weight * routing.balance if self.balance_weight else None
        return SlotFill({"prefix": prefix.to(read.dtype).index_put((filled,), read)}, loss)

    def metrics(self) -> dict[str, float]:
        """Share of training prompts read by each expert, and the mean entropy (nats) of the router's shares."""
        return self._means.take()

    @torch.no_grad()
    def choices(self, context: PromptContext) -> Tensor:
        """The expert that each prompt is read by, [B]; -1 where there is no history."""
        filled = context.id_mask.any(dim=1)
        chosen = torch.full_like(context.user_rows, -1)
        if filled.any():
            chosen[filled] = self.router(*self._memory(context, filled)).expert
        return chosen

    def _memory(self, context: PromptContext, filled: Tensor) -> tuple[Tensor, Tensor]:
        """What the ``filled`` prompts read of all ID models, one after the other: states and mask, L long for each."""
        mask = context.id_mask[filled]
        parts = []
        for number, states in enumerate((context.id_states, *context.other_states)):
            # undefined at padding: may even be NaN
            known = states[filled].detach().masked_fill(~mask.unsqueeze(-1), 0)
            normed = F.layer_norm(known, known.shape[-1:])  # [B, L, D]
            parts.append(self.inputs[number](normed) if self.inputs else normed)
        return torch.cat(parts, dim=1), mask.repeat(1, len(parts))

    def _read(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Routing]:
        routing = self.router(states, mask)
        tokens = self.experts[routing.expert]  # [B, Q, W]
        for block in self.blocks:
            tokens = block(tokens, states, mask)
        prefix = self.output(tokens)  # [B, Q, H]
        return (prefix * routing.share[:, None, None] if self.gate else prefix), routing

    def _count(self, routing: Routing) -> None:
        for expert, name in enumerate(_usage_names(self.router.linear.out_features)):
            self._means.add(name, routing.expert == expert)
        self._means.add("router_entropy", entropy(routing.shares))


QUERY_STD = 0.2
"""Spread of the query tokens at first: neither they nor the history drown the other."""


def _usage_names(experts: int) -> list[str]:
    return [f"expert_{i}" for i in range(experts)]


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise BridgeError(f"mformer: {name} must be at least 1, got {size}")
