"""Evaluation of a finished run of stages (MoLoRec): the learned mixture beside the fixed ones."""

import time
from typing import Any

from hybrid.config.schema import Config
from hybrid.data.dataset import Dataset
from hybrid.data.split import Targets, TrainingData
from hybrid.evaluation.references import load_references, reference_ranks
from hybrid.instruct.adapters import load_stored
from hybrid.instruct.ranking import grouped_metrics
from hybrid.instruct.stages import FIXED, LEARNED, MixedRecommender
from hybrid.llm.adapter import load_adapter
from hybrid.training.run_directory import RunDirectory
from hybrid.training.validation import draw_targets
from idmodels.contract import IDModel


def evaluate_mixed(
    config: Config, run: RunDirectory, dataset: Dataset, data: TrainingData, targets: Targets
) -> dict[str, Any]:
    """What was ranked, and metrics, parameters and cost of every mixture, by name; the learned one is the side `llm`.

    With ``instruct.mixture.source=test`` the weights are found here, on the prompts of ``targets`` without their
    answers: training never sees those.
    """
    recommender = MixedRecommender(config, dataset, data)
    _load_mixture(recommender, run)
    mixture = config.instruct.mixture
    targets = draw_targets(targets, config.instruct.test_users, config.seed)
    sides = {}
    for name in (LEARNED, *FIXED):
        if name in FIXED:
            recommender.set_weights(FIXED[name])
        elif mixture.weights == "entropy" and mixture.source == "test":
            recommender.learn_weights(targets)
        sides[name] = _measured(recommender, targets)
    for name, model in load_references(config.instruct.references, data).items():
        sides[f"ID model {name}"] = _measured_reference(model, recommender, targets)
    return {"users": len(targets), "protocol": _protocol(config), "sides": sides}


def _load_mixture(recommender: MixedRecommender, run: RunDirectory) -> None:
    """Both adapters and their weights from the run itself: a general adapter that others share may have changed."""
    specific = load_stored(recommender.plain, recommender.backbone, run.path / "adapters" / "specific")
    recommender.mix([specific, specific])  # of the right shapes; the next line fills in both
    load_adapter(recommender.speaker.lm, run.best_llm)


def _measured_reference(model: IDModel, recommender: MixedRecommender, targets: Targets) -> dict[str, Any]:
    questions = recommender.questions.among_candidates(targets)
    started = time.perf_counter()
    ranks = reference_ranks(model, targets, questions, recommender.config.evaluation.batch_users)
    seconds = time.perf_counter() - started
    return {
        "metrics": grouped_metrics(ranks, questions),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "cost_ms": 1000 * seconds / len(targets),
    }


def _protocol(config: Config) -> str:
    instruct = config.instruct
    few = f"; catalogue/: all items for {instruct.catalogue_users} users" if instruct.catalogue_users else ""
    return f"1 true item among {instruct.candidates} by title likelihood, ties against the target{few}"


def _measured(recommender: MixedRecommender, targets: Targets) -> dict[str, Any]:
    started = time.perf_counter()
    metrics = recommender.measure(targets, recommender.config.instruct.catalogue_users)
    seconds = time.perf_counter() - started
    parameters = sum(weight.numel() for weight in recommender.speaker.parameters())
    return {
        "metrics": metrics,
        "parameters": parameters,
        "cost_ms": 1000 * seconds / len(targets),
        "weights": recommender.mean_weights(),
    }
