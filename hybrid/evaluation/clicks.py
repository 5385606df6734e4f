"""Evaluation of a finished run of task ctr: its best click model and its best language model, on samples of a part."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from bridges.knowledge_adapter import KnowledgeAdapter
from hybrid.config.schema import Config, DataConfig
from hybrid.ctr.scoring import ClickScorer, IDClicks
from hybrid.ctr.system import ClickSystem, build_click_system
from hybrid.ctr.validation import evaluated
from hybrid.data.clicks import Samples, split_clicks
from hybrid.data.dataset import Dataset
from hybrid.evaluation.click_metrics import click_metrics, intervals
from hybrid.evaluation.test_part import open_click_test
from hybrid.exchange import judged_sides
from hybrid.training.run_directory import RunDirectory

Part = Literal["valid", "test"]


def evaluate_clicks(config: Config, run: RunDirectory, dataset: Dataset, part: Part) -> dict[str, Any]:
    """Metrics with intervals, parameters and cost of each side, by side. Raises UserError as the split does."""
    data = split_clicks(dataset, config.data)
    everything = open_click_test(dataset, config.data) if part == "test" else data.valid
    samples, system = evaluated(everything, config), build_click_system(config, data)
    return {
        "part": part,
        "samples": len(samples),
        "of_samples": len(everything),
        "clicked": float(samples.labels.mean()),
        "labels": label_source(config.data),
        "sides": {side: _evaluate(system, side, run, samples) for side in judged_sides(config)},
    }


def label_source(config: DataConfig) -> str:
    """Where labels come from, in a few words."""
    if config.negatives:
        return f"{config.negatives} drawn items beside each click"
    return f"ratings above {config.label_threshold:g}"


def _evaluate(system: ClickSystem, side: str, run: RunDirectory, samples: Samples) -> dict[str, Any]:
    scorer, parameters = _best(system, side, run)
    started = time.perf_counter()
    logits = scorer.logits(samples)
    cost_ms = 1000 * (time.perf_counter() - started) / len(samples)
    redraws, seed = system.config.evaluation.bootstrap, system.config.data.sample_seed
    return {
        "metrics": click_metrics(logits, samples.labels, samples.users),
        "intervals": intervals(logits, samples.labels, samples.users, redraws, seed),
        "parameters": parameters,
        "cost_ms": cost_ms,
    }


def _best(system: ClickSystem, side: str, run: RunDirectory) -> tuple[ClickScorer, int]:
    """The side as it was at its best validation, and how many weights it needs to serve."""
    if side == "id":
        system.load(run.best_id)
        model, bridges = system.need_id(), system.exchange.modules("id")
        scorer = IDClicks(model, system.config.evaluation.batch_users, system.device, bridges)
        return scorer, sum(weight.numel() for weight in [*model.parameters(), *_lookups(bridges)])
    system.load(run.best_llm)
    return system.llm_scorer(), system.serving_parameters()


def _lookups(bridges: Sequence[nn.Module]) -> Iterator[Tensor]:
    """What serving needs of the bridges: the tables of one that computes features, else its weights."""
    for bridge in bridges:
        yield from bridge.tables().values() if isinstance(bridge, KnowledgeAdapter) else bridge.parameters()
