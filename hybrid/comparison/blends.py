"""Both sides of a comparison together: the blend of their scores, and the overlap of their best items."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid.checkpoint_files import load_tensors
from hybrid.comparison.rows import Row
from hybrid.config.schema import Config
from hybrid.data.dataset import Dataset
from hybrid.data.split import split_training
from hybrid.evaluation.blend import Scores, best_weight, blend_ranks, top_overlap
from hybrid.evaluation.clicks import Part
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.evaluation.groups import group_metrics, members
from hybrid.evaluation.metrics import ranking_metrics
from hybrid.evaluation.rankings import ranks_file, states_file
from hybrid.evaluation.test_part import open_test

Pair = tuple[Path, Path]
"""Run of the ID side, run of the LLM side."""
BEFORE = "before"
"""Name of the pair of the two plain runs."""


def side_pairs(paths: Mapping[tuple[str, int], Path], arms: Sequence[str], seed: int) -> dict[str, Pair]:
    """The pairs of one seed, by the arm that made both, or `before`; paths: of the runs, by arm and seed."""
    found = {}
    if {"id_only", "llm_only"} <= set(arms):
        found[BEFORE] = (paths["id_only", seed], paths["llm_only", seed])
    both = [arm for arm in arms if arm not in ("id_only", "llm_only")]
    return found | {arm: (paths[arm, seed], paths[arm, seed]) for arm in both}


def overlaps(pairs: Mapping[str, Pair]) -> dict[str, float]:
    """Mean share of the best items on test that both sides of a pair have in common; without pairs that keep none."""
    found = {}
    for name, (id_run, llm_run) in pairs.items():
        first, second = (load_tensors(ranks_file(run, "test"))[0] for run in (id_run, llm_run))
        if "id.top" in first and "llm.top" in second:
            found[name] = top_overlap(first["id.top"], second["llm.top"])
    return found


def blend_rows(config: Config, dataset: Dataset, pairs: Mapping[int, Mapping[str, Pair]]) -> list[Row]:
    """One row for each pair, with the weight chosen on validation, seed by seed."""
    data = split_training(dataset, config.data)
    targets = open_test(dataset, config.data)
    groups = members(targets, data.popularity())
    rows: dict[str, Row] = {}
    for seed, of_seed in pairs.items():
        for name, pair in of_seed.items():
            valid, test = _scores(pair, "valid"), _scores(pair, "test")
            if valid is None or test is None:
                continue
            weight = best_weight(*valid, data.valid, config.evaluation)
            ranks = blend_ranks(*test, weight, targets, config.evaluation)
            found: dict[str, Any] = {"metrics": ranking_metrics(ranks), "weight": weight}
            found["groups"] = group_metrics(ranks, groups)
            row = rows.setdefault(name, Row(_label(name), name, "blend", "blend", {}))
            row.results[seed], row.ranks[seed] = found, ranks
            row.tail = load_tensors(ranks_file(pair[0], "test"))[0]["tail"]
    return list(rows.values())


def _scores(pair: Pair, part: Part) -> tuple[Scores, Scores] | None:
    """Of the ID side and of the LLM side; None where a side has no states."""
    found = []
    for side, run in zip(("id", "llm"), pair, strict=True):
        evaluate_run(run, part, keep_states=True)
        tensors, _ = load_tensors(states_file(run, part))
        if f"{side}.states" not in tensors:
            return None
        found.append(Scores(tensors[f"{side}.states"], tensors[f"{side}.items"]))
    return found[0], found[1]


def _label(name: str) -> str:
    return "Blend of both, before" if name == BEFORE else f"Blend of both, after ({name})"
