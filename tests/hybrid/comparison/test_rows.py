"""Changes from the plain recommender, serving sizes, and the tables, from ranks that are known."""

import sys

import pytest
import torch

from hybrid.comparison.rows import TAIL, Row, as_json, compare_with_plain, serving_errors
from hybrid.comparison.table import aligned, group_tables, main_table, markdown, plot


def result(ndcg, tail_ndcg, parameters=10, size=100):
    groups = {"popularity": {"tail": {"users": 2, "ndcg@10": tail_ndcg}, "unseen": {"users": 0}}}
    metrics = {"ndcg@10": ndcg, "hr@10": ndcg, "mrr@10": ndcg}
    sizes = {"parameters": parameters, "bytes": size, "cost_ms": 0.5, "train_s": 7.0}
    return {"metrics": metrics, "groups": groups, **sizes}


def row(entry, ranks, side="id", kind="arm", shuffled=False, **sizes):
    results = {seed: result(0.1 * seed, 0.2, **sizes) for seed in ranks}
    tensors = {seed: torch.tensor(found) for seed, found in ranks.items()}
    tail = torch.tensor([True, True, False, False])
    return Row(f"{side} {entry}", entry, side, kind, results, tensors, tail, shuffled)


@pytest.fixture
def rows():
    return [
        row("id_only", {1: [1, 3, 99, 99], 2: [1, 3, 99, 99]}),
        row("both", {1: [1, 1, 99, 3], 2: [1, 1, 99, 3]}),
        row("without_store", {2: [1, 3, 1, 99], 5: [1, 1, 1, 1]}, kind="ablation"),
        row("both", {1: [1, 2, 3, 4], 2: [1, 2, 3, 4]}, side="llm"),
    ]


def test_changes_are_those_of_the_same_users_and_seeds(rows):
    compare_with_plain(rows, 200, seed=1)
    plain, both, ablated, llm = rows
    assert not plain.changes
    assert not llm.changes  # no llm_only to compare with
    assert both.changes["ndcg@10"].relative == pytest.approx((1 + 1 + 0.5) / (1 + 0.5) - 1)
    assert both.changes[TAIL].relative == pytest.approx(2 / 1.5 - 1)
    assert (both.changes[TAIL].users, both.changes[TAIL].seeds) == (2, 2)
    assert ablated.changes["ndcg@10"].seeds == 1  # seed 2 alone is in both
    assert ablated.changes["ndcg@10"].relative == pytest.approx(2.5 / 1.5 - 1)


def test_a_shuffled_plain_model_is_compared_with_itself_in_order(rows):
    mixed = row("id_only", {1: [99, 99, 99, 99], 2: [99, 99, 99, 99]}, kind="control", shuffled=True)
    compare_with_plain([mixed, *rows], 50, seed=1)
    assert mixed.changes["ndcg@10"].relative == -1


def test_no_redraws_no_changes(rows):
    compare_with_plain(rows, 0, seed=1)
    assert not any(one.changes for one in rows)


def test_id_models_of_another_size_are_errors_and_llm_sides_are_not(rows):
    assert serving_errors(rows) == []
    rows.append(row("larger", {4: [1, 1, 1, 1]}, parameters=11))
    rows.append(row("larger", {4: [1, 1, 1, 1]}, side="llm", parameters=12))
    (found,) = serving_errors(rows)
    assert found.startswith("ERROR: id larger, seed 4: 11 parameters and 100 bytes")


def test_the_table_has_means_changes_and_costs(rows):
    compare_with_plain(rows, 200, seed=1)
    table = main_table(rows, "ranking")
    assert table[0][:4] == ["", "NDCG@10", "change [95 %]", "p"]
    assert table[1][:4] == ["id id_only", "0.1500 ± 0.0707", "", ""]
    assert table[2][2].startswith("+66.7%")
    assert table[2][-4:] == ["7", "10", "100", "0.50"]
    assert markdown(table).splitlines()[1] == "|---" * len(table[0]) + "|"
    assert len({len(line) for line in aligned(table).splitlines()}) == 1


def test_groups_without_users_have_no_column(rows):
    table = group_tables(rows)
    assert table[0] == ["NDCG@10", "tail"]
    assert table[1] == ["users", "2"]
    assert table[2] == ["id id_only", "0.2000"]


def test_json_has_every_seed_and_the_spread(rows):
    compare_with_plain(rows, 50, seed=1)
    found = as_json(rows[1])
    assert found["metrics"]["ndcg@10"]["mean"] == pytest.approx(0.15)
    assert found["metrics"][TAIL]["sd"] == 0.0
    assert found["changes"][TAIL]["users"] == 2
    assert found["by_seed"]["2"]["parameters"] == 10


def test_the_drawing_is_a_png_and_not_there_without_matplotlib(rows, tmp_path, monkeypatch):
    assert plot(rows, "ndcg@10", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not plot(rows, "ndcg@10", tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
