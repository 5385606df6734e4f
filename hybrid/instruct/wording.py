"""The text of instructions as token ids. A prompt ends before a blank; an answer is a blank, some text, and the end.

    A user took these items, oldest first: / - title / - title / Candidates: / - title / .. / The next item is: title /

Letters: N items.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from hybrid.errors import UserError
from hybrid.llm.tokens import SEPARATOR, leading_tokens

HISTORY = "A user took these items, oldest first:"
CANDIDATES = "\nCandidates:"
NEXT = "\nThe next item is:"
EITHER = "\nOne of these is next:"
RATED = "A user rated these items:"
RATING = "\nThe user's rating of"
CATEGORY = "The category of"
IS = " is:"
END = "\n"


class Wording:
    """Titles and phrases of one domain, tokenised once. A title keeps ``item_tokens`` tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, titles: Sequence[str], item_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._separator, self._end = self.words(SEPARATOR), self.words(END)
        self._known: dict[str, list[int]] = {}
        self._bos, _ = leading_tokens(tokenizer, HISTORY, "the line before a history")
        spoken = [f" {' '.join(title.split())}" if title else "" for title in titles]
        encoded = tokenizer(spoken, add_special_tokens=False)["input_ids"]
        self._titles = [row[:item_tokens] for row in encoded]

    def words(self, text: str) -> list[int]:
        """Ids of a text."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def phrase(self, text: str) -> list[int]:
        """Ids of a text that comes again and again."""
        if text not in self._known:
            self._known[text] = self.words(text)
        return self._known[text]

    def title(self, item: int) -> list[int]:
        """Ids of a blank and the title. Raises UserError where the item has none."""
        if not self._titles[item]:
            raise UserError(f"item {item} has no title, so its likelihood can't be had; see data.text_fields")
        return self._titles[item]

    def answer(self, item: int) -> list[int]:
        """The title with the end, so that `Alien` is no part of `Aliens`."""
        return self.title(item) + self._end

    def said(self, text: str) -> list[int]:
        """Another answer with the end."""
        return self.phrase(f" {text}") + self._end

    def lines(self, items: Sequence[int], notes: Sequence[str] = ()) -> list[int]:
        """One line for each item that has a title, with a note after it."""
        ids: list[int] = []
        for number, item in enumerate(items):
            if self._titles[item]:
                ids += self._separator + self._titles[item] + (self.phrase(f": {notes[number]}") if notes else [])
        return ids

    def next_item(self, history: Sequence[int], candidates: Sequence[int] = ()) -> list[int]:
        """Which item comes next, of these candidates if there are any."""
        listed = self.phrase(CANDIDATES) + self.lines(candidates) if len(candidates) else []
        return self._bos + self.phrase(HISTORY) + self.lines(history) + listed + self.phrase(NEXT)

    def preference(self, history: Sequence[int], pair: Sequence[int]) -> list[int]:
        """Which of two comes next."""
        head = self._bos + self.phrase(HISTORY) + self.lines(history)
        return head + self.phrase(EITHER) + self.lines(pair) + self.phrase(NEXT)

    def rating(self, history: Sequence[int], ratings: Sequence[str], item: int) -> list[int]:
        """How the user rates an item."""
        head = self._bos + self.phrase(RATED) + self.lines(history, ratings)
        return head + self.phrase(RATING) + self.title(item) + self.phrase(IS)

    def category(self, item: int) -> list[int]:
        """What an item's category is."""
        return self._bos + self.phrase(CATEGORY) + self.title(item) + self.phrase(IS)
