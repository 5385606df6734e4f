"""Progress bars with rate and time left; quiet where the output is not a terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, total: int | None = None, unit: str = "batch") -> Iterator[Item]:
    """Pass ``items`` through under a bar named ``what``; ``total`` counts the items, not their contents."""
    yield from tqdm(items, desc=what, total=total, unit=unit, leave=False, disable=None, dynamic_ncols=True)
