"""Errors that are for people: one clear line, exit code 2, never a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can put right; the message says what was wrong, where, and what is accepted."""


def nearest(name: str, accepted: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'rounds'?``, or the accepted names when none is near."""
    names = sorted(accepted)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; accepted: {', '.join(names)}"
