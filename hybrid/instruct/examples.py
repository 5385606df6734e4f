"""Instruction examples of a domain, drawn from its train part alone."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from hybrid.config.schema import Config, InstructTask
from hybrid.errors import UserError
from hybrid.instruct.domains import Domain
from hybrid.instruct.wording import Wording

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A prompt and the answer to it, as token ids."""

    task: InstructTask
    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        """Tokens that the model reads: all but the answer's last, which nothing follows."""
        return len(self.prompt) + len(self.answer) - 1


class Examiner:
    """Draws the examples of one domain.

    Raises UserError where the domain has too few titles for the candidates.
    """

    def __init__(self, domain: Domain, tokenizer: PreTrainedTokenizerBase, config: Config) -> None:
        self.domain, self.config = domain, config.instruct
        self.history_items = config.llm.prompt.history_items
        self.wording = Wording(tokenizer, domain.titles, config.llm.prompt.item_tokens)
        self.titled = domain.titled
        if len(self.titled) < self.config.candidates:
            raise UserError(
                f"{domain.name}: {len(self.titled)} of {len(domain.titles) - 1} items have a title, too few for "
                f"instruct.candidates={self.config.candidates}; see data.text_fields"
            )
        self.tasks = [task for task in self.config.tasks if self._possible(task)]
        self._askable = self._positions()

    def draw(self, count: int, seed: int) -> list[Example]:
        """``count`` examples; the tasks take turns, users' train positions are drawn without regard to users."""
        random = np.random.default_rng((seed, len(self.titled)))
        chosen = random.choice(self._askable, count, replace=count > len(self._askable))
        return [self._ask(self.tasks[number % len(self.tasks)], row, random) for number, row in enumerate(chosen)]

    def check_candidates(self) -> None:
        """Raise UserError where some user took so many items that a question about them may lack candidates."""
        others = max((self._others(task) for task in self.tasks), default=0)
        train, owners = self.domain.train, np.searchsorted(self.domain.train.ends, self._askable, side="right")
        for user in np.unique(owners):
            if train.lengths[user] > len(self.titled) - others:  # with fewer items enough are left in any case
                _free(train.row(user), self.titled, others, self.domain.name)

    def _others(self, task: InstructTask) -> int:
        """Candidates that a question lists beside the true one."""
        return {"choice": self.config.candidates - 1, "preference": 1}.get(task, 0)

    def _possible(self, task: InstructTask) -> bool:
        lacks = {"rating": self.domain.ratings is None, "category": not any(self.domain.categories)}
        if lacks.get(task):
            log.info("%s has no %s, so there are no questions about it", self.domain.name, task)
        return not lacks.get(task)

    def _positions(self) -> np.ndarray:
        """Rows of train interactions that have a history and a title."""
        train, has_title = self.domain.train, np.zeros(len(self.domain.titles), dtype=bool)
        has_title[self.titled] = True
        first = np.zeros(len(train.items), dtype=bool)
        first[train.starts[train.lengths > 0]] = True
        rows = np.flatnonzero(~first & has_title[train.items])
        if not self.tasks or not len(rows):
            raise UserError(f"{self.domain.name}: no user has two train items with titles, so there is nothing to ask")
        return rows

    def _ask(self, task: InstructTask, row: int, random: np.random.Generator) -> Example:
        train, wording = self.domain.train, self.wording
        user = int(np.searchsorted(train.ends, row, side="right"))
        target = int(train.items[row])
        begin = max(int(train.starts[user]), row - self.history_items)
        history = train.items[begin:row].tolist()
        if task == "category":
            said = self.domain.categories[target]
            return Example(task, tuple(wording.category(target)), tuple(wording.said(said or "unknown")))
        if task == "rating":
            ratings = [_spoken(self.domain.ratings[at]) for at in range(begin, row + 1)]  # type: ignore[index]
            prompt = wording.rating(history, ratings[:-1], target)
            return Example(task, tuple(prompt), tuple(wording.said(ratings[-1])))
        others, taken, name = self._others(task), train.row(user), self.domain.name
        listed = candidates(target, taken, self.titled, others, random, name) if others else []
        prompt = wording.preference(history, listed) if task == "preference" else wording.next_item(history, listed)
        return Example(task, tuple(prompt), tuple(wording.answer(target)))


def candidates(
    target: int, taken: np.ndarray, titled: np.ndarray, others: int, random: np.random.Generator, name: str
) -> list[int]:
    """The target among ``others`` random items with titles that the user never took, in random order.

    Raises UserError, naming the dataset ``name``, where there are too few.
    """
    free = _free(np.append(taken, target), titled, others, name)
    drawn = np.append(random.choice(free, others, replace=False), target)
    return random.permutation(drawn).tolist()


def _free(taken: np.ndarray, titled: np.ndarray, others: int, name: str) -> np.ndarray:
    free = np.setdiff1d(titled, taken)
    if len(free) < others:
        raise UserError(
            f"{name}: a user took all but {len(free)} of the {len(titled)} items with titles; {others} other "
            "candidates are asked for (see instruct.candidates, instruct.tasks)"
        )
    return free


def without(examples: Iterable[Example], others: Iterable[Example]) -> list[Example]:
    """The examples that are not among the others."""
    known = set(others)
    return [example for example in examples if example not in known]


def check_lengths(lengths: Iterable[int], context: int, config: Config) -> None:
    """Raise UserError where one of these `Example.__len__` is more than ``context``."""
    longest = max(lengths, default=0)
    if longest > context:
        prompt = config.llm.prompt
        raise UserError(
            f"an instruction and its answer have {longest} tokens, but the LLM reads {context} at once; lower "
            f"llm.prompt.history_items ({prompt.history_items}), llm.prompt.item_tokens ({prompt.item_tokens}) or "
            f"instruct.candidates ({config.instruct.candidates})"
        )


def _spoken(rating: float) -> str:
    return f"{rating:g}"
