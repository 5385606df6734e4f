"""Order, completeness and repeatability of prompt batches."""

import numpy as np
import pytest
import torch

from hybrid.config.schema import PromptConfig
from hybrid.data.split import Targets
from hybrid.errors import UserError
from hybrid.llm.prompt_batches import PromptBatches
from hybrid.llm.prompts import PromptBatch, PromptBuilder, SlotLayout
from hybrid.llm.tiny import tiny_tokenizer
from hybrid.llm.windows import last_windows

CONFIG = PromptConfig(instruction="Seen:", history_items=4, item_tokens=6, targets_per_prompt=2, windows_per_user=2)


@pytest.fixture
def prompts(titles: list[str], histories):
    generator = np.random.default_rng(0)
    train = histories(*[generator.integers(1, 12, size=size).tolist() for size in (3, 9, 1, 5, 14, 2, 30)])

    def make(seed: int = 0) -> PromptBatches:
        builder = PromptBuilder(tiny_tokenizer(), titles, CONFIG)
        return PromptBatches(train, builder, CONFIG, SlotLayout(item=True), batch_prompts=3, id_length=4, seed=seed)

    return make


def contents(batches: list[PromptBatch]) -> list[tuple[list[int], list[int]]]:
    return [(batch.users.tolist(), batch.rows.tolist()) for batch in batches]


def test_users_with_one_train_item_alone_are_nothing_to_learn_from(titles, histories) -> None:
    builder = PromptBuilder(tiny_tokenizer(), titles, CONFIG)
    with pytest.raises(UserError, match="no user has two train items"):
        PromptBatches(histories([1], [4], []), builder, CONFIG, SlotLayout(), batch_prompts=3, id_length=4, seed=0)


def test_epoch_depends_on_seed_and_epoch_only(prompts) -> None:
    first = prompts()
    list(first.epoch(5))  # what was read before must not matter
    again = contents(list(first.epoch(1)))
    assert again == contents(list(prompts().epoch(1)))
    assert again != contents(list(first.epoch(2)))
    assert again != contents(list(prompts(seed=1).epoch(1)))


def test_skip_leaves_out_the_first_batches(prompts) -> None:
    assert contents(list(prompts().epoch(1, skip=2))) == contents(list(prompts().epoch(1)))[2:]


def test_epoch_has_len_batches_and_each_users_windows(prompts) -> None:
    source = prompts()
    for epoch in range(3):
        batches = list(source.epoch(epoch))
        users = sorted(user for batch in batches for user in batch.users.tolist())
        assert users == [0, 1, 1, 3, 3, 4, 4, 5, 6, 6]
        assert len(batches) == len(source) == 4


def test_training_has_no_unknown_targets_and_writing_one_per_user(prompts) -> None:
    source = prompts()
    assert all((batch.targets > 0).all() for batch in source.epoch(0))
    written = list(source.write_batches())
    last_rows = sorted(row for batch in written for row in batch.rows[batch.targets == 0].tolist())
    assert last_rows == (source.train.ends - 1).tolist()


def test_target_batches_cover_every_target_once(prompts, histories) -> None:
    source = prompts()
    users = np.array([6, 0, 2, 4])
    targets = Targets(users, np.array([1, 2, 3, 4]), histories([1] * 9, [5], [6, 7], [8, 9, 10]))
    batches = list(source.target_batches(targets))
    numbers = torch.cat([batch.numbers for batch in batches])
    assert sorted(numbers.tolist()) == [0, 1, 2, 3]
    assert torch.cat([batch.targets for batch in batches]).tolist() == targets.items[numbers].tolist()
    assert torch.cat([batch.users for batch in batches]).tolist() == users[numbers].tolist()
    assert all(len(batch.suffix_index[0]) == len(batch.users) for batch in batches)


def test_batch_moves_to_another_device(prompts) -> None:
    batch = next(prompts().epoch(0)).to(torch.device("meta"))
    assert batch.tokens.device.type == batch.suffix_index[1].device.type == "meta"


def test_a_prompt_that_the_model_cannot_read_at_once_is_refused(titles, histories) -> None:
    builder = PromptBuilder(tiny_tokenizer(), titles, CONFIG)
    layout, train = SlotLayout(item=True), histories([1, 2, 3, 4], [5, 6, 7])
    longest = int(builder.lengths(last_windows(train, CONFIG.targets_per_prompt), layout).max())
    PromptBatches(train, builder, CONFIG, layout, batch_prompts=3, id_length=4, seed=0, context=longest)
    with pytest.raises(
        UserError, match=rf"a prompt has {longest} tokens, but the LLM reads {longest - 1} at once; lower"
    ):
        PromptBatches(train, builder, CONFIG, layout, batch_prompts=3, id_length=4, seed=0, context=longest - 1)
