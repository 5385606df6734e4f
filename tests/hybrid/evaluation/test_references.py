"""Ranks of an ID model among given candidates, by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid.data.split import Histories, Targets
from hybrid.evaluation.references import reference_ranks
from hybrid.instruct.ranking import Question
from idmodels.contract import IDModel
from idmodels.settings import IDSettings


class Numbers(IDModel):
    """Scores an item by its number's distance from the last item."""

    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        raise AssertionError("ranks come from the scores")

    def scores(self, histories: Tensor, lengths: Tensor, users: Tensor | None = None) -> Tensor:
        last = histories.gather(1, lengths[:, None] - 1)
        return -(torch.arange(self.n_items) - last).abs().float()


def question(listed: list[int], target: int) -> Question:
    return Question([], listed, target, len(listed) - (target in listed), unseen=False)


@pytest.mark.parametrize("batch_users", [1, 2, 3, 100])
def test_ranks_are_among_the_candidates_and_ties_go_against_the_target(batch_users: int) -> None:
    starts, ends = np.array([0, 2, 3]), np.array([2, 3, 4])
    histories = Histories(np.array([9, 5, 5, 5]), starts, ends)
    targets = Targets(np.arange(3), np.array([8, 6, 7]), histories)
    asked = [question([1, 8, 9], 8), question([4, 6, 9], 6), question([1, 2], 7)]
    ranks = reference_ranks(Numbers(10, IDSettings()), targets, asked, batch_users)
    assert ranks.tolist() == [1, 2, 3]  # 8 is nearest; 4 is as near as 6; 7 is not listed
