"""The layout of prompts, against one written by hand and one put together piece by piece."""

import numpy as np
import pytest

from hybrid.config.schema import PromptConfig
from hybrid.data.split import Histories, Targets
from hybrid.errors import UserError
from hybrid.llm.prompts import PromptBatch, PromptBuilder, SlotLayout
from hybrid.llm.tiny import tiny_tokenizer
from hybrid.llm.windows import last_windows, target_windows, training_windows

EVERYTHING = SlotLayout(prefix=2, user=True, item=True)
LAYOUTS = [SlotLayout(), SlotLayout(prefix=3), SlotLayout(user=True), SlotLayout(item=True), EVERYTHING]


@pytest.fixture
def builder(titles: list[str]) -> PromptBuilder:
    config = PromptConfig(instruction="Seen:", history_items=3, item_tokens=5, targets_per_prompt=2)
    return PromptBuilder(tiny_tokenizer(), titles, config)


def spell(batch: PromptBatch, number: int) -> str:
    """A prompt as text: P, U, I and S stand for its slots."""
    letters = list(tiny_tokenizer().convert_ids_to_tokens(batch.tokens[number, : batch.lengths[number]].tolist()))
    letters = [letter.replace("Ċ", "|").replace("Ġ", "_") for letter in letters]
    for mark, index in zip(
        "PUIS", (batch.prefix_index, batch.user_index, batch.item_index, batch.suffix_index), strict=True
    ):
        for prompt, time in zip(*index, strict=True):
            if prompt == number:
                letters[time] = f"<{mark}>"
    return "".join(letters)


def test_layout_by_hand(builder: PromptBuilder, histories) -> None:
    windows = last_windows(histories([9, 1, 2, 3], [11]), most_targets=2)
    batch = builder.build(windows, EVERYTHING, id_length=3)
    assert spell(batch, 0) == "<P><P><U>Seen:|-_Fx1<I>|-_Fxx2<I><S>|-_Fxxx<I><S>"  # titles cut to 5 tokens
    assert spell(batch, 1) == "<P><P><U>Seen:|-_Fxxx<I><S>"
    assert batch.item_ids.tolist() == [1, 2, 3, 11]
    assert batch.targets.tolist() == [3, 0, 0]
    assert batch.rows.tolist() == [2, 3, 4]
    assert batch.user_rows.tolist() == [2, 4]
    assert batch.id_items.tolist() == [[9, 1, 2], [11, 0, 0]]
    assert batch.users.tolist() == [0, 1]


def test_prompt_without_history_predicts_after_the_instruction(builder: PromptBuilder, histories) -> None:
    targets = Targets(np.array([0, 1, 0]), np.array([3, 4, 5]), histories([2], [], [1]))
    batch = builder.build(target_windows(histories([2], []), targets), SlotLayout(user=True), id_length=2)
    assert [spell(batch, number) for number in range(3)] == ["<U>Seen:|-_Fxx2<S>", "<U>Seen:<S>", "<U>Seen:|-_Fx1<S>"]
    assert batch.suffix_index[0].tolist() == [0, 1, 2]
    assert batch.user_rows.tolist() == [0, -1, 0]
    assert batch.id_items.tolist() == [[2, 0], [0, 0], [1, 0]]


def test_unused_slot_kinds_have_empty_indices(builder: PromptBuilder, histories) -> None:
    batch = builder.build(last_windows(histories([1, 2]), 1), SlotLayout(), id_length=2)
    assert [len(index[0]) for index in (batch.prefix_index, batch.user_index, batch.item_index)] == [0, 0, 0]
    assert len(batch.item_ids) == 0
    assert spell(batch, 0) == "Seen:|-_Fx1|-_Fxx2<S>"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_piece_by_piece(builder: PromptBuilder, titles: list[str], histories, layout: SlotLayout) -> None:
    generator = np.random.default_rng(0)
    rows = [generator.integers(1, 12, size=size).tolist() for size in (1, 7, 3, 0, 12, 2)]
    train: Histories = histories(*rows)
    windows = last_windows(train, most_targets=2)
    batch = builder.build(windows, layout, id_length=4)
    for number, user in enumerate(windows.users):
        read = rows[user][-3:]
        text = "<P>" * layout.prefix + "<U>" * layout.user + "Seen:"
        for position, item in enumerate(read):
            text += f"|-_{titles[item]}"[:7] + "<I>" * layout.item + "<S>" * (position >= len(read) - 2)
        assert spell(batch, number) == text
        assert batch.lengths[number] == len(text) - 2 * sum(text.count(mark) for mark in ("<P>", "<U>", "<I>", "<S>"))
    assert batch.lengths.tolist() == builder.lengths(windows, layout).tolist()


@pytest.mark.parametrize("per_user", [1, 3])
def test_no_soft_input_depends_on_a_target(builder: PromptBuilder, histories, per_user: int) -> None:
    """Every item from the first target on is exchanged; what fills prefix and user slots must not notice."""
    rows = [[1, 2, 3, 4, 5, 6, 7], [8, 9, 10], [11, 1]]
    changed_all = histories(*[[12 - item for item in row] for row in rows])
    train = histories(*rows)
    for epoch in range(4):
        windows = training_windows(train, per_user, most_targets=2, epoch=epoch)
        for number in range(len(windows)):
            window = windows.take(np.array([number]))
            first_target = int(window.rows[0]) + 1
            items = np.concatenate([train.items[:first_target], changed_all.items[first_target:]])
            other = training_windows(Histories(items, train.starts, train.ends), per_user, 2, epoch)
            before = builder.build(window, EVERYTHING, id_length=5)
            after = builder.build(other.take(np.array([number])), EVERYTHING, id_length=5)
            assert before.targets.tolist() != after.targets.tolist()
            assert before.id_items.tolist() == after.id_items.tolist()
            assert before.user_rows.tolist() == after.user_rows.tolist() == [first_target - 1]
            assert before.id_items[0, before.id_items[0] > 0][-1] == train.items[first_target - 1]


def test_title_without_text_and_with_line_breaks(histories) -> None:
    builder = PromptBuilder(tiny_tokenizer(), ["", "", "a\n b"], PromptConfig(instruction="Seen:", item_tokens=20))
    batch = builder.build(last_windows(histories([1, 2]), 1), SlotLayout(), id_length=1)
    assert spell(batch, 0) == "Seen:|-_(untitled)|-_a_b<S>"


def test_beginning_of_text_token_stays_first(titles: list[str], histories) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|end|> $A <|end|>", special_tokens=[("<|end|>", 0)]
    )
    builder = PromptBuilder(tokenizer, titles, PromptConfig(instruction="Seen:"))
    batch = builder.build(last_windows(histories([1]), 1), SlotLayout(prefix=1, user=True), id_length=1)
    assert spell(batch, 0) == "<|end|><P><U>Seen:|-_Fx1<S>"


def test_empty_instruction_is_refused(titles: list[str]) -> None:
    with pytest.raises(UserError, match=r"llm\.prompt\.instruction is empty"):
        PromptBuilder(tiny_tokenizer(), titles, PromptConfig(instruction=""))


@pytest.fixture
def vector_builder(titles: list[str]) -> PromptBuilder:
    config = PromptConfig(items="vectors", instruction="Seen:", history_items=3, targets_per_prompt=2)
    return PromptBuilder(tiny_tokenizer(), titles, config)


def test_items_read_as_vectors_take_one_place_for_everything(vector_builder: PromptBuilder, histories) -> None:
    windows = last_windows(histories([9, 1, 2, 3], [11]), most_targets=2)
    batch = vector_builder.build(windows, EVERYTHING, id_length=3)
    head = 3 + len("Seen:")  # of two prefix tokens and a user's
    assert batch.lengths.tolist() == [head + 3, head + 1] == vector_builder.lengths(windows, EVERYTHING).tolist()
    assert batch.vector_ids.tolist() == batch.item_ids.tolist() == [1, 2, 3, 11]
    places = [(0, head), (0, head + 1), (0, head + 2), (1, head)]
    assert list(zip(*(part.tolist() for part in batch.vector_index), strict=True)) == places
    assert [part.tolist() for part in batch.item_index] == [part.tolist() for part in batch.vector_index]
    assert list(zip(*(part.tolist() for part in batch.suffix_index), strict=True)) == places[1:]
    assert batch.targets.tolist() == [3, 0, 0]


def test_without_history_the_state_after_the_instruction_predicts(vector_builder: PromptBuilder, histories) -> None:
    targets = Targets(np.array([0, 1]), np.array([3, 4]), histories([2], []))
    windows = target_windows(histories([2], []), targets)
    batch = vector_builder.build(windows, SlotLayout(), id_length=2)
    assert batch.lengths.tolist() == [6, 5] == vector_builder.lengths(windows, SlotLayout()).tolist()
    assert [part.tolist() for part in batch.suffix_index] == [[0, 1], [5, 4]]
    assert batch.item_ids.tolist() == []
