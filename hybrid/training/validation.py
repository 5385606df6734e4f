"""Validation of a side during training, and what it shows in TensorBoard."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bridges.agreement import top_k_overlap
from hybrid.config.describe import settings
from hybrid.config.schema import Config, Side
from hybrid.data.split import Histories, Targets
from hybrid.evaluation import expert_use
from hybrid.evaluation.blend import Scores, best_weight
from hybrid.evaluation.rankers import LLMRanker, Ranker, rank_side
from hybrid.system import System
from hybrid.training.monitor import Monitor

log = logging.getLogger(__name__)

AGREEMENT_K = 20
SHOWN_USERS = 4
SHOWN_ITEMS = 5


class SideValidator(Protocol):
    """Measures one side at a time on the validation part, and shows it."""

    def validate(self, side: Side, own_step: int, epoch: int, step: int) -> dict[str, float]:
        """Metrics of one side, logged over its own steps."""

    def finish(self, results: Mapping[str, float]) -> None:
        """Called once at the end, with the best values."""


class Validator:
    """Ranks the validation targets with one side at a time; the test part is not known here."""

    def __init__(self, system: System, rankers: Mapping[Side, Ranker], monitor: Monitor) -> None:
        self.system, self.rankers, self.monitor = system, rankers, monitor
        self.config: Config = system.config
        everyone = system.data.valid
        self.targets: dict[Side, Targets] = {
            "id": everyone,
            "llm": draw_targets(everyone, self.config.evaluation.llm_valid_users, self.config.seed),
        }

    def validate(self, side: Side, own_step: int, epoch: int, step: int) -> dict[str, float]:
        """Metrics of one side on its validation targets; logged over its own steps."""
        started = time.perf_counter()
        targets = self.targets[side]
        metrics, states = rank_side(self.rankers[side], targets, self.config.evaluation)
        metrics["seconds"] = time.perf_counter() - started
        self.monitor.scalars(f"valid/{side}", metrics, own_step)
        self.monitor.record("valid", {"side": side, "own_step": own_step, "epoch": epoch, "step": step, **metrics})
        log.info("%s side, epoch %d: %s", side, epoch, _short(metrics))
        if side == "llm" and states is not None:
            self._show(states, own_step)
            self._experts(own_step)
            if self.system.id_model is not None and self.system.id_model.has_states:
                self._agreement(states, step)
        return metrics

    def best_share(self) -> float:
        """Share of the ID side in the blend of both that ranks the LLM's validation targets best."""
        targets, sides = self.targets["llm"], (self.rankers["id"], self.rankers["llm"])
        scores = [Scores(ranker.user_states(targets).cpu(), ranker.item_matrix().cpu()) for ranker in sides]
        return best_weight(scores[0], scores[1], targets, self.config.evaluation)

    def finish(self, results: Mapping[str, float]) -> None:
        """Hyper-parameters with the final metrics, and the item embeddings with titles."""
        self.monitor.hyperparameters(flat_settings(self.config), results)
        self.monitor.record("finished", dict(results))
        for side, ranker in self.rankers.items():
            self.monitor.projector(f"items/{side}", ranker.item_matrix(), self.system.data.item_text)

    def _experts(self, own_step: int) -> None:
        """Which users each expert of the M-Former reads, as a table and a figure."""
        ranker = self.rankers["llm"]
        assert isinstance(ranker, LLMRanker)
        use = expert_use.expert_use(ranker, self.targets["llm"], self.system.data)
        if use:
            self.monitor.text("experts/users", expert_use.table(use), own_step)
            if (drawn := expert_use.figure(use)) is not None:
                self.monitor.figure("experts/users", drawn, own_step)

    def _agreement(self, llm_states: Tensor, step: int) -> None:
        """Share of items that both sides' top lists have in common, on the LLM's validation users."""
        id_states = self.rankers["id"].user_states(self.targets["llm"])
        matrices = self.rankers["id"].item_matrix(), self.rankers["llm"].item_matrix()
        overlap = top_k_overlap(id_states, matrices[0], llm_states, matrices[1], AGREEMENT_K)
        self.monitor.scalars("exchange", {f"agreement@{AGREEMENT_K}": overlap}, step)

    def _show(self, states: Tensor, own_step: int) -> None:
        """A few prompts, the true next item and the LLM's first choices, as text."""
        targets, data = self.targets["llm"], self.system.data
        matrix = self.rankers["llm"].item_matrix()
        for number in range(min(SHOWN_USERS, len(targets.users))):
            scores = (matrix @ states[number]).float()
            scores[0] = -torch.inf
            if self.config.evaluation.mask_history:
                scores[torch.from_numpy(targets.histories.row(number)).long()] = -torch.inf
            best = scores.topk(min(SHOWN_ITEMS, len(scores) - 1)).indices.tolist()
            lines = [f"**Prompt** {self._prompt(targets.histories.row(number))}"]
            lines += [f"**Next** {data.item_text[int(targets.items[number])]}", "**Recommended**"]
            lines += [f"{place}. {data.item_text[item]}" for place, item in enumerate(best, start=1)]
            self.monitor.text(
                f"recommended/user_{data.user_ids[int(targets.users[number])]}", "\n\n".join(lines), own_step
            )

    def _prompt(self, history: np.ndarray) -> str:
        """The newest items of a history, as a prompt that reads titles has them."""
        prompt = self.config.llm.prompt
        titles = [self.system.data.item_text[item] for item in history[-prompt.history_items :]]
        return "\n- ".join([prompt.instruction, *titles])


def flat_settings(config: Config) -> dict[str, object]:
    """Every setting of a config by its dotted key."""
    return {item.key: _value(config, item.key) for item in settings()}


def draw_targets(targets: Targets, count: int, seed: int) -> Targets:
    """``count`` of the targets, drawn once by the seed, in their order; all of them for 0 or too many."""
    if count == 0 or count >= len(targets.users):
        return targets
    chosen = np.sort(np.random.default_rng(seed).choice(len(targets.users), count, replace=False))
    old = targets.histories
    histories = Histories(old.items, old.starts[chosen], old.ends[chosen])
    return replace(targets, users=targets.users[chosen], items=targets.items[chosen], histories=histories)


def _short(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {metrics[name]:.4f}" for name in ("hr@10", "ndcg@10"))


def _value(config: Config, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
