"""Ranking by title likelihood: 1 true item among drawn candidates, and the whole catalogue for a few users.

Ties are pessimistic, and so is a target without a title: it comes last. Letters: M users, C candidates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybrid.config.schema import InstructConfig
from hybrid.data.split import Targets
from hybrid.errors import UserError
from hybrid.evaluation.metrics import ranking_metrics
from hybrid.instruct.examples import candidates
from hybrid.instruct.likelihood import title_likelihoods
from hybrid.instruct.speaker import Speaker
from hybrid.instruct.wording import Wording
from hybrid.modes import inference
from hybrid.progress import progress

CUTOFFS = (1, 3, 5, 10)


@dataclass(frozen=True)
class Question:
    """One user's prompt and the items to be ranked."""

    prompt: list[int]
    listed: list[int]
    """Items to be ranked, the target among them if it has a title."""
    target: int
    others: int
    """Items it is ranked against, with or without a title: the rank of a target without one."""
    unseen: bool
    """The target is in no train history."""

    def rank(self, score: Callable[[], Tensor]) -> int:
        """Rank of the target, from 1, by the scores [C] of the items listed; they are asked for where it is listed.

        Ties go against it, and a target that is not listed is last. Raises UserError where a score is not finite.
        """
        if self.target not in self.listed:
            return self.others + 1
        scores = score()
        if not torch.isfinite(scores).all():
            raise UserError("ranking: a score is not finite; the model has diverged (lower its learning rate)")
        return int((scores >= scores[self.listed.index(self.target)]).sum())  # the target itself makes it count from 1


class Questions:
    """Makes the questions of targets; the candidates of a user depend on the seed and the user alone."""

    def __init__(
        self, wording: Wording, titled: np.ndarray, seen: np.ndarray, history_items: int, config: InstructConfig,
        seed: int, name: str,
    ) -> None:  # fmt: skip
        self.name = name  # the dataset's
        self.wording, self.titled, self.seen = wording, titled, seen
        self.history_items, self.config, self.seed = history_items, config, seed

    def among_candidates(self, targets: Targets) -> list[Question]:
        """1 + (candidates - 1) items each; the others are items the user had not taken by then.

        Raises UserError where too few items have a title, or a user took too many of them.
        """
        if len(self.titled) < self.config.candidates:
            raise UserError(
                f"{self.name}: {len(self.titled)} items have a title, too few for "
                f"instruct.candidates={self.config.candidates}"
            )
        return [self._question(targets, number) for number in range(len(targets))]

    def whole_catalogue(self, targets: Targets) -> list[Question]:
        """All items with a title but those of the history; the prompt lists no candidates."""
        found = []
        for number in range(len(targets)):
            history, target = targets.histories.row(number), int(targets.items[number])
            listed = np.union1d(np.setdiff1d(self.titled, history), [target] if self._known(target) else [])
            found.append(self._made(history, target, listed.astype(int).tolist(), listing=False))
        return found

    def _question(self, targets: Targets, number: int) -> Question:
        user, target, history = int(targets.users[number]), int(targets.items[number]), targets.histories.row(number)
        random = np.random.default_rng((self.seed, user))
        drawn = candidates(target, history, self.titled, self.config.candidates - 1, random, self.name)
        listed = [item for item in drawn if item != target or self._known(target)]
        return self._made(history, target, listed, self.config.list_candidates)

    def _made(self, history: np.ndarray, target: int, listed: list[int], listing: bool) -> Question:
        recent = history[-self.history_items :].tolist()
        prompt = self.wording.next_item(recent, listed if listing else ())
        others = len(listed) - (target in listed)
        return Question(prompt, listed, target, others, not self.seen[target])

    def _known(self, item: int) -> bool:
        return bool(np.isin(item, self.titled))


def question_ranks(speaker: Speaker, questions: Sequence[Question], wording: Wording, normalise: bool) -> Tensor:
    """Rank of each question's target, from 1, [M]."""
    ranks = []
    with inference(speaker):
        for question in progress(questions, "title likelihood", len(questions), unit="user"):
            ranks.append(_rank(speaker, question, wording, normalise))
    return torch.tensor(ranks)


def _rank(speaker: Speaker, question: Question, wording: Wording, normalise: bool) -> int:
    def score() -> Tensor:
        titles = [wording.answer(item) for item in question.listed]
        return title_likelihoods(speaker, question.prompt, titles, normalise)

    return question.rank(score)


def grouped_metrics(ranks: Tensor, questions: Sequence[Question]) -> dict[str, float]:
    """Metrics of all users, and apart of those whose target was trained on (``warm/``) or never seen (``unseen/``)."""
    unseen = torch.tensor([question.unseen for question in questions])
    values = ranking_metrics(ranks, CUTOFFS)
    groups: Mapping[str, Tensor] = {"warm": ~unseen, "unseen": unseen}
    for name, members in groups.items():
        values[f"{name}/users"] = float(members.sum())
        if members.any():
            values |= {f"{name}/{key}": value for key, value in ranking_metrics(ranks[members], CUTOFFS).items()}
    return values
