"""The comparison as a whole: train what is not finished, evaluate each run once on test, and write what was found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridges.errors import BridgeError
from hybrid.checkpoint_files import load_tensors
from hybrid.comparison.blends import blend_rows, overlaps, side_pairs
from hybrid.comparison.plan import Entry, Plan
from hybrid.comparison.rising import rising_notes
from hybrid.comparison.rows import Row, as_json, compare_with_plain, serving_errors
from hybrid.comparison.table import COLUMNS, aligned, group_tables, main_table, markdown, overlap_table, plot
from hybrid.config.schema import Config
from hybrid.data.prepare import prepare
from hybrid.errors import UserError
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.evaluation.protocol import describe
from hybrid.evaluation.rankings import ranks_file
from hybrid.runs import LABELS, check_runs, finished_run, log
from hybrid.training.run_directory import RunDirectory, read_json, write_json, write_text
from idmodels.errors import IDModelError

SIDES = ("id", "llm", "blend")


@dataclass(frozen=True)
class Comparison:
    """What a comparison found."""

    config: Config
    measured: str
    """On what, and by which rule."""
    rows: list[Row]
    overlaps: dict[str, list[float]]
    """By pair of sides, seed by seed."""
    errors: list[str]
    """ID models that do not cost the same to serve."""
    notes: list[str]

    def tables(self) -> list[list[list[str]]]:
        """Main table, groups, overlap; those that have something in them."""
        main = main_table(self.rows, self.config.task)
        main += [[line, *[""] * (len(main[0]) - 1)] for line in self.errors]
        extra = overlap_table(self.overlaps) if self.overlaps else []
        return [table for table in (main, group_tables(self.rows), extra) if table]

    def text(self) -> str:
        """What is printed."""
        return "\n\n".join([*(aligned(table) for table in self.tables()), f"test: {self.measured}", *self.notes])


def compare(config: Config, plan: Plan, blend: bool = True) -> tuple[Comparison, list[RunDirectory]]:
    """Train the runs of the plan that are not finished yet and measure all of them.

    An ablation or control that cannot be trained is left out, and that is noted. Raises UserError where an arm can't,
    before anything is trained if that can be known.
    """
    dataset = prepare(config.data, log=log.info)
    check_runs([entry.configs for entry in plan.entries if entry.kind == "arm"], dataset)
    runs, plan = _trained(plan, dataset.fingerprint)
    rows = [row for entry in plan.entries for row in _rows(entry, runs, blend and entry.kind == "arm")]
    arms = [entry.name for entry in plan.entries if entry.kind == "arm"]
    shared: dict[str, list[float]] = {}
    if config.task == "ranking":
        paths = {key: run.path for key, run in runs.items()}
        seeds = [one.seed for one in plan.entries[0].configs]
        pairs = {seed: side_pairs(paths, arms, seed) for seed in seeds}
        for of_seed in pairs.values():
            for name, share in overlaps(of_seed).items():
                shared.setdefault(name, []).append(share)
        if blend:
            rows += blend_rows(config, dataset, pairs)
    rows.sort(key=_place)
    compare_with_plain(rows, config.evaluation.bootstrap, config.seed)
    notes = [*plan.notes, *rising_notes(rows, runs)]
    measured = describe(evaluate_run(next(iter(runs.values())).path, "test"))
    return Comparison(config, measured, rows, shared, serving_errors(rows), notes), list(runs.values())


def _trained(plan: Plan, fingerprint: str) -> tuple[dict[tuple[str, int], RunDirectory], Plan]:
    """The finished runs by entry and seed, and the plan of the entries that have all of theirs."""
    runs: dict[tuple[str, int], RunDirectory] = {}
    kept: list[Entry] = []
    notes = list(plan.notes)
    for entry in plan.entries:
        try:
            for one in entry.configs:
                if (entry.name, one.seed) not in runs:
                    runs[entry.name, one.seed] = finished_run(one, fingerprint)
        except (UserError, BridgeError, IDModelError) as error:
            if entry.kind == "arm":
                raise
            log.warning("%s left out: %s", entry.name, error)
            notes.append(f"{entry.name} left out: {error}")
        else:
            kept.append(entry)
    return runs, Plan(tuple(kept), tuple(notes))


def write_comparison(found: Comparison, directory: Path) -> list[Path]:
    """Write ``compare.md``, ``compare.json`` and, where matplotlib is there, ``compare.png``; the paths written."""
    directory.mkdir(parents=True, exist_ok=True)
    seeds = sorted({seed for row in found.rows for seed in row.results})
    redraws = found.config.evaluation.bootstrap
    head = (
        f"Test part ({found.measured}), mean ± standard deviation over seeds {', '.join(map(str, seeds))}. "
        "Changes are from the side alone; interval and p by a paired bootstrap over users and seeds "
        f"({redraws} redraws)."
    )
    tables = [markdown(table) for table in found.tables()]
    write_text(directory / "compare.md", "\n\n".join([head, *tables, *found.notes]) + "\n")
    record: Mapping[str, Any] = {
        "seeds": seeds,
        "measured": found.measured,
        "rows": [as_json(row) for row in found.rows],
        "overlap@20": found.overlaps,
        "errors": found.errors,
        "notes": found.notes,
    }
    write_json(directory / "compare.json", record)
    written = [directory / "compare.md", directory / "compare.json"]
    picture = directory / "compare.png"
    return [*written, picture] if plot(found.rows, COLUMNS[found.config.task][0], picture) else written


def _rows(entry: Entry, runs: Mapping[tuple[str, int], RunDirectory], keep_states: bool) -> list[Row]:
    """The sides of one entry, each with all of its seeds; the states too where they are to be blended."""
    rows: dict[str, Row] = {}
    for config in entry.configs:
        run = runs[entry.name, config.seed]
        results = evaluate_run(run.path, "test", keep_states, entry.shuffled)
        kept = ranks_file(run.path, "test_shuffled" if entry.shuffled else "test")
        tensors = load_tensors(kept)[0] if kept.exists() else {}
        for side, found in results["sides"].items():
            label = LABELS.get((config.arm, side), f"{config.arm}, {side}")
            label = f"{label}; {entry.suffix}" if entry.suffix else label
            row = rows.setdefault(side, Row(label, entry.name, side, entry.kind, {}, shuffled=entry.shuffled))
            row.results[config.seed] = found | {"train_s": _train_s(run)}
            if f"{side}.ranks" in tensors:
                row.ranks[config.seed], row.tail = tensors[f"{side}.ranks"].cpu(), tensors["tail"]
    return list(rows.values())


def _train_s(run: RunDirectory) -> float | None:
    return float(read_json(run.time)["train_s"]) if run.time.exists() else None


def _place(row: Row) -> tuple[int, int, int]:
    """Side by side, arms in the order of `LABELS`, then ablations, then controls."""
    kinds: Sequence[str] = ("arm", "blend", "ablation", "control")
    labels = list(LABELS.values())
    name = row.label.partition(";")[0]
    side = SIDES.index(row.side) if row.side in SIDES else len(SIDES)
    return side, kinds.index(row.kind), labels.index(name) if name in labels else 0
