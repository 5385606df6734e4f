"""What a prompt reads of a long history: the newest items, and of the older ones those with the most attention."""

import numpy as np
import pytest
import torch

from hybrid.config.schema import PromptConfig
from hybrid.data.split import Targets
from hybrid.llm.attended import attended_places
from hybrid.llm.prompts import PromptBuilder, SlotLayout
from hybrid.llm.tiny import tiny_tokenizer
from hybrid.llm.windows import last_windows, target_windows, training_windows

CONFIG = PromptConfig(instruction="Seen:", items="vectors", history_items=4, targets_per_prompt=2)


def by_number(rows, items):
    """Items with higher numbers get more attention."""
    return items.float()


def read(windows, attention, history_items=4, newest=2):
    """Items that are read, window by window."""
    first = np.maximum(windows.starts, windows.ends - history_items)
    places = attended_places(windows, first, newest, attention)
    return [part.tolist() for part in np.split(windows.items[places], np.cumsum(windows.ends - first)[:-1])]


def test_of_the_older_items_those_with_the_most_attention_are_read_in_time_order(histories):
    train = histories([9, 3, 8, 1, 2, 4, 5], [7, 6, 5, 4], [5])
    assert read(last_windows(train, 2), by_number) == [[9, 8, 4, 5], [7, 6, 5, 4], [5]]
    assert read(last_windows(train, 2), lambda rows, items: -items.float()) == [[1, 2, 4, 5], [7, 6, 5, 4], [5]]


def test_of_equals_the_later_is_read(histories):
    train = histories([1, 2, 3, 4, 5, 6, 7])
    assert read(last_windows(train, 2), lambda rows, items: torch.zeros(items.shape)) == [[4, 5, 6, 7]]


def test_where_nothing_is_known_the_newest_are_read(histories):
    train = histories([9, 3, 8, 1, 2, 4, 5], [9, 1, 2, 3, 4, 5])
    assert read(last_windows(train, 2), lambda rows, items: None) == [[1, 2, 4, 5], [2, 3, 4, 5]]

    def of_the_second(rows, items):
        return torch.where(rows[:, None] > 6, items.float(), torch.nan)

    assert read(last_windows(train, 2), of_the_second) == [[1, 2, 4, 5], [9, 3, 4, 5]]


def test_all_that_predicts_is_read(histories):
    train = histories([9, 3, 8, 1, 2, 4, 5])
    assert read(last_windows(train, 3), by_number) == [[9, 2, 4, 5]]
    assert read(last_windows(train, 4), by_number) == [[1, 2, 4, 5]]


def test_rows_are_those_of_the_state_before_the_first_target(histories):
    asked = []

    def asking(rows, items):
        asked.append((rows.tolist(), items.tolist()))
        return items.float()

    train = histories([1], [9, 3, 8, 1, 2, 4, 5])
    read(last_windows(train, 2), asking)
    assert asked == [([6], [[9, 3, 8, 1, 2]])]


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_prompt_predicts_as_without_and_reads_what_is_attended_to(histories, titles, epoch):
    train = histories([9, 3, 8, 1, 2, 4, 5], [7, 6, 5])
    plain, attending = (PromptBuilder(tiny_tokenizer(), titles, CONFIG, chosen) for chosen in (None, by_number))
    windows = training_windows(train, 1, 2, epoch)
    first, second = (builder.build(windows, SlotLayout(), 5) for builder in (plain, attending))
    assert first.targets.tolist() == second.targets.tolist()
    assert first.suffix_index[1].tolist() == second.suffix_index[1].tolist()
    assert first.lengths.tolist() == second.lengths.tolist() == attending.lengths(windows, SlotLayout()).tolist()
    assert first.vector_ids.tolist()[:4] == {0: [8, 1, 2, 4], 1: [9, 3, 8, 1]}[epoch]
    assert second.vector_ids.tolist()[:4] == {0: [9, 8, 2, 4], 1: [9, 3, 8, 1]}[epoch]


def test_a_target_of_evaluation_keeps_as_many_of_the_newest_as_one_of_training(histories, titles):
    targets = Targets(np.array([0]), np.array([6]), histories([9, 3, 8, 1, 2, 4, 5]))
    builder = PromptBuilder(tiny_tokenizer(), titles, CONFIG, by_number)
    batch = builder.build(target_windows(histories([9, 3, 8, 1, 2, 4, 5]), targets), SlotLayout(), 5)
    assert batch.vector_ids.tolist() == [9, 8, 4, 5]
