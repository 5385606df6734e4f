"""Errors that are for people: one clear line, exit code 2, never a traceback."""

from bridges.errors import did_you_mean, nearest

__all__ = ["UserError", "did_you_mean", "nearest"]


class UserError(Exception):
    """Something the user can put right; the message says what was wrong, where, and what is accepted."""
