"""What was measured, in words: on how many users or samples, among which items, by which rule."""

from typing import Any


def describe(results: dict[str, Any]) -> str:
    """One line about the results of `evaluate_run`."""
    if "samples" in results:
        count = f"{results['samples']} of {results['of_samples']} samples"
        return f"{count}, {results['clicked']:.1%} clicked ({results['labels']})"
    order = f", histories {results['histories']}" if "random" in results.get("histories", "") else ""
    if "protocol" in results:
        return f"{results['users']} users, {results['protocol']}{order}"
    masked = "left out" if results["history_masked"] else "ranked too"
    return f"{results['users']} users, full catalogue, history items {masked}, ties against the target{order}"
