"""Groups by popularity of the target and by history length, against counts by hand."""

import math

import numpy as np
import pytest
import torch

from hybrid.data.split import Histories, Targets
from hybrid.evaluation.groups import group_metrics, group_table, members


def targets(items, lengths):
    ends = np.cumsum(lengths)
    histories = Histories(np.ones(sum(lengths), dtype=np.int32), ends - np.array(lengths), ends)
    return Targets(np.arange(len(items)), np.array(items), histories)


POPULARITY = np.array([0, 5, 9, 1, 1, 7, 2, 3, 0, 4, 1])
"""Ten items: 2 and 5 are the most popular fifth; 1, 9 and 7 come next; 8 was never seen."""


def names_of(groups, kind):
    n = len(next(iter(groups[kind].values())))
    return [{name for name, group in groups[kind].items() if group[number]} for number in range(n)]


def test_head_is_the_most_popular_fifth_of_the_items_and_the_rest_is_tail():
    found = members(targets([2, 5, 1, 9, 7, 6, 3, 8], [1] * 8), POPULARITY)
    middle, rare = {"tail", "middle"}, {"tail", "rare"}
    expected = [{"head"}, {"head"}, middle, middle, middle, rare, rare, {"tail", "unseen"}]
    assert names_of(found, "popularity") == expected


def test_an_unseen_item_is_no_head_even_where_few_items_were_seen():
    popularity = np.array([0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    found = members(targets([1, 2], [1, 1]), popularity)
    assert names_of(found, "popularity") == [{"head"}, {"tail", "unseen"}]


def test_lengths_have_their_bounds_inside():
    found = members(targets([1] * 7, [1, 5, 6, 10, 11, 20, 21]), POPULARITY)
    assert [group.pop() for group in names_of(found, "history")] == [
        "1-5", "1-5", "6-10", "6-10", "11-20", "11-20", ">20",
    ]  # fmt: skip


def test_metrics_of_a_group_are_those_of_its_users_alone():
    groups = members(targets([2, 2, 3, 3], [1, 1, 1, 7]), POPULARITY)
    found = group_metrics(torch.tensor([1, 3, 11, 2]), groups)
    assert found["popularity"]["head"] == {
        "users": 2, "hr@10": 1.0, "ndcg@10": pytest.approx((1 + 0.5) / 2), "mrr@10": pytest.approx((1 + 1 / 3) / 2),
    }  # fmt: skip
    assert found["popularity"]["tail"]["ndcg@10"] == pytest.approx(1 / math.log2(3) / 2)
    assert found["history"]["6-10"]["mrr@10"] == pytest.approx(0.5)
    assert found["popularity"]["unseen"] == {"users": 0}


def test_table_leaves_empty_groups_out():
    groups = members(targets([2, 3], [1, 1]), POPULARITY)
    table = group_table({"id": group_metrics(torch.tensor([1, 2]), groups)})
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["head", "tail", "of", "history"]
    assert "0.6309" in table
