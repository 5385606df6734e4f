"""What the adapter is told of a user."""

import torch

from bridges.lora_gate import LoraGate
from bridges.protocols import PromptContext


def test_it_is_the_state_after_the_last_known_item() -> None:
    states = torch.arange(24.0).reshape(3, 4, 2).requires_grad_()
    mask = torch.tensor([[True, True, False, False], [True] * 4, [False] * 4])
    context = PromptContext(states, mask, torch.tensor([0, 1, -1]), torch.empty(0, dtype=torch.long))
    users = LoraGate().fill_slots(context).users
    assert torch.equal(users, torch.tensor([[2.0, 3.0], [14.0, 15.0], [0.0, 0.0]]))
    assert not users.requires_grad
