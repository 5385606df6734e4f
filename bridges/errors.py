"""The error that this package raises for input it can't use."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_NAMES = 50
"""Accepted names in a message: of items or users there may be a million."""


class BridgeError(ValueError):
    """A bridge was given something that doesn't fit; the message says what and what is accepted."""


def nearest(name: str, accepted: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'mformer'?``, or the accepted names when none is near."""
    names = sorted(accepted)
    if near := did_you_mean(name, names):
        return near
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"; accepted: {', '.join(names[:MOST_NAMES]) or 'none'}{more}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'mformer'?``, or nothing when no name is near."""
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
