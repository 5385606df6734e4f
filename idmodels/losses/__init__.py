"""Losses of the ID models over M scored positions; `create_loss` makes one from its settings."""

from idmodels.losses.registry import Loss, create_loss, loss_names
from idmodels.losses.softmax import full_softmax

__all__ = ["Loss", "create_loss", "full_softmax", "loss_names"]
