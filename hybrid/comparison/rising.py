"""Sides alone that were still becoming better when their time was up: what is compared with them gains too much."""

from collections.abc import Mapping, Sequence

from hybrid.comparison.rows import PLAIN, Row
from hybrid.training.rising import ends_at_its_best, longer
from hybrid.training.run_directory import RunDirectory


def rising_notes(rows: Sequence[Row], runs: Mapping[tuple[str, int], RunDirectory]) -> list[str]:
    """One line for each plain side of a comparison that ended at its best, with the seeds in which it did."""
    notes = []
    for row in rows:
        arm, side = PLAIN.get(row.side, ("", ""))
        if side not in ("id", "llm") or arm != row.entry or row.shuffled:
            continue
        seeds = [str(seed) for seed in row.results if ends_at_its_best(runs[row.entry, seed], side)]
        if seeds:
            notes.append(
                f"{row.label}, seed {', '.join(seeds)}: best at its last validation, so it may not be done learning, "
                f"and changes from it may be too large; under another name= a larger {longer(arm, side)} gives it more "
                "time"
            )
    return notes
