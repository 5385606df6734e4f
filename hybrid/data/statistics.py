"""What a prepared dataset looks like, for printing."""

from datetime import UTC, datetime

import numpy as np

from hybrid.data.dataset import Dataset

FEW_REPEATS = 0.01
"""Up to this share of repeats nothing is said of them."""


def statistics(dataset: Dataset) -> dict[str, str]:
    """Label -> value, in the order in which they are printed. Items are counted without padding."""
    lengths = np.diff(dataset.offsets)
    n_items = dataset.n_items - 1
    n_with_text = sum(bool(text) for text in dataset.item_text)
    return {
        "dataset": dataset.name,
        "users": f"{dataset.n_users:,}",
        "items": f"{n_items:,}",
        "interactions": f"{dataset.n_interactions:,}",
        "density": f"{dataset.n_interactions / (dataset.n_users * n_items):.4%}",
        "interactions per user": (
            f"mean {lengths.mean():.2f}, median {np.median(lengths):g}, min {lengths.min()}, max {lengths.max()}"
        ),
        **_repeats(dataset),
        "items with text": f"{n_with_text:,} ({n_with_text / n_items:.1%})",
        "ratings": _number_range(dataset.ratings),
        "times": _time_range(dataset.times),
        "fingerprint": dataset.fingerprint,
        "folder": str(dataset.path),
    }


def repeat_share(dataset: Dataset) -> float:
    """Share of the interactions whose item the user has had before."""
    owners = np.repeat(np.arange(dataset.n_users), np.diff(dataset.offsets))
    pairs = owners * dataset.n_items + dataset.items
    return 1 - len(np.unique(pairs)) / len(pairs)


def statistics_table(dataset: Dataset) -> str:
    """`statistics` as aligned lines."""
    rows = statistics(dataset)
    width = max(map(len, rows))
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows.items())


def _repeats(dataset: Dataset) -> dict[str, str]:
    share = repeat_share(dataset)
    return {"repeats": f"{share:.1%} of the interactions: the user had the item before"} if share > FEW_REPEATS else {}


def _number_range(values: np.ndarray | None) -> str:
    return "none" if values is None else f"{values.min():.15g} to {values.max():.15g}"


def _time_range(times: np.ndarray | None) -> str:
    """Days where the numbers look like seconds since 1970 (after 1980), plain numbers otherwise."""
    if times is None or not 3e8 < times.min() <= times.max() < 1e10:
        return _number_range(times)
    first, last = (datetime.fromtimestamp(float(time), UTC).date() for time in (times.min(), times.max()))
    return f"{first} to {last}"
