"""Instruction examples of a domain, drawn from its train part alone."""

import logging
from collections.abc import Iterable, Iterator
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

    def check_length(self, context: int) -> None:
        """Raise UserError where an instruction and its answer may have more tokens than ``context``."""
        longest = self.longest()
        if longest > context:
            raise UserError(
                f"{self.domain.name}: an instruction and its answer may have {longest} tokens, but the LLM reads "
                f"{context} at once; lower llm.prompt.item_tokens, llm.prompt.history_items ({self.history_items}) or "
                f"instruct.candidates ({self.config.candidates})"
            )

    def longest(self) -> int:
        """Most tokens that the model may have to read at once: every title that is named is the longest one."""
        item = int(max(self.titled, key=lambda item: len(self.wording.title(item))))
        lengths = [len(prompt) + len(answer) for prompt, answer in self._longest_by_task(item)]
        return max(lengths) - 1  # an answer's last token is predicted, not read

    def _longest_by_task(self, item: int) -> Iterator[tuple[list[int], list[int]]]:
        """Prompt and answer of each task, and of what is asked to rank items, about this ``item`` alone."""
        wording, mixture, history = self.wording, self.config.mixture, [item] * self.history_items
        lists = "choice" in self.tasks or self.config.list_candidates
        asked = wording.next_item(history, [item] * self.config.candidates if lists else [])
        yield asked, wording.answer(item)
        if mixture.weights == "entropy":
            yield asked, [0] * mixture.answer_tokens
        if "preference" in self.tasks:
            yield wording.preference(history, [item] * 2), wording.answer(item)
        if "rating" in self.tasks and self.domain.ratings is not None:
            note = max(map(_spoken, np.unique(self.domain.ratings)), key=lambda note: len(wording.said(note)))
            yield wording.rating(history, [note] * len(history), item), wording.said(note)
        if "category" in self.tasks:
            said = (wording.said(category or "unknown") for category in set(self.domain.categories))
            yield wording.category(item), max(said, key=len)

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


def _spoken(rating: float) -> str:
    return f"{rating:g}"
