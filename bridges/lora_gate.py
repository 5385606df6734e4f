"""Adapter gate: the LLM's adapter depends on the user by the frozen ID model's state (RecLoRA, arXiv 2408.03533)."""

from typing import ClassVar

import torch

from bridges.protocols import Bridge, Direction, Place, PromptContext, SlotFill, Task


class LoraGate(Bridge):
    """Hands the state after the last item before a prompt's first target to the adapter; zero for an empty history.

    The gates themselves belong to the adapter (`bridges.lora.routers`) and are saved with it.
    """

    name: ClassVar[str] = "lora_gate"
    direction: ClassVar[Direction] = "id2llm"
    place: ClassVar[Place] = "weights"
    needs_id_states: ClassVar[bool] = True
    tasks: ClassVar[frozenset[Task]] = frozenset({"ranking", "ctr"})

    def __init__(self) -> None:
        super().__init__()

    def fill_slots(self, context: PromptContext) -> SlotFill:
        """``users`` [B, D], without gradient."""
        last = (context.id_mask.sum(dim=1) - 1).clamp(min=0)  # [B]
        states = context.id_states[torch.arange(len(last), device=last.device), last].detach()
        return SlotFill({}, users=states * context.id_mask.any(dim=1, keepdim=True))
