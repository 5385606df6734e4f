"""Errors that are for people: one clear line, exit code 2, never a traceback."""

from bridges.errors import did_you_mean, nearest

__all__ = ["DivergedError", "UserError", "did_you_mean", "nearest"]


class UserError(Exception):
    """Something the user can put right; the message says what was wrong, where, and what is accepted."""


class DivergedError(UserError):
    """A loss or a gradient is not finite any more."""
