import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from idmodels.batches import IDBatches
from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.recommending import recommend
from idmodels.saved import load_id_model, save_id_model
from idmodels.training import fit

ITEMS = np.array([1, 2, 3, 1, 2, 3, 7, 7, 7, 7, 5, 5, 5])  # most frequent: 7, 5, then 1 to 3
STARTS, ENDS = np.array([0, 6]), np.array([6, 13])


@pytest.fixture
def trained(model: IDModel) -> IDModel:
    fit(model, IDBatches(ITEMS, STARTS, ENDS, 6, 20, seed=0), epochs=1)
    return model


def test_the_best_scores_come_first_and_history_is_left_out(trained: IDModel) -> None:
    found = recommend(trained, [[1, 2], [7]], k=12)
    with torch.no_grad():
        scores = trained.eval().scores(torch.tensor([[1, 2], [7, 0]]), torch.tensor([2, 1]))
    for row, seen in enumerate(({1, 2}, {7})):
        order = [item for item in scores[row].argsort(descending=True).tolist() if item not in seen | {0}]
        assert found.items[row].tolist() == order + [0] * len(seen)
        assert torch.allclose(found.scores[row, : len(order)], scores[row, order], atol=1e-6)
    assert found.scores[0, -2:].tolist() == [-torch.inf, -torch.inf]
    assert set(recommend(trained, [[1, 2]], k=12, known_too=True).items[0].tolist()) == set(range(1, 13))


def test_the_last_items_of_a_long_history_are_read_and_all_are_left_out(trained: IDModel) -> None:
    long, short = [4, 9, 1, 2, 3, 1, 2, 3], [1, 2, 3, 1, 2, 3]
    found, expected = recommend(trained, [long], k=5), recommend(trained, [short], k=7)
    kept = [item for item in expected.items[0].tolist() if item not in (4, 9)][:5]
    assert found.items[0].tolist() == kept


def test_an_empty_history_is_served_by_popularity_and_said_so(
    trained: IDModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_id_model(trained, tmp_path / "saved", None)
    loaded, _ = load_id_model(tmp_path / "saved")
    for model in (trained, loaded):
        with caplog.at_level(logging.WARNING):
            found = recommend(model, [[], [1]], k=2)
        assert found.items[0].tolist() == [7, 5]
        assert found.scores[0].tolist() == [4, 3]
        assert found.by_popularity.tolist() == [True, False]
    assert "1 of 2 histories are empty: served by popularity" in caplog.text


def test_without_popularity_an_empty_history_is_refused(model: IDModel) -> None:
    with pytest.raises(IDModelError, match="served by popularity, which this model does not have"):
        recommend(model, [[]])


@pytest.mark.parametrize("wrong", [-1, 0, 13])
def test_an_item_out_of_range_is_named(model: IDModel, wrong: int) -> None:
    with pytest.raises(IDModelError, match=f"item id {wrong} in history 1; this model knows items 1 to 12"):
        recommend(model, [[1], [2, wrong]])


@pytest.mark.parametrize("k", [0, 13])
def test_a_list_longer_than_the_catalogue_is_refused(model: IDModel, k: int) -> None:
    with pytest.raises(IDModelError, match="k must be 1 to 12"):
        recommend(model, [[1]], k=k)


def test_a_damaged_popularity_is_one_line(model: IDModel, tmp_path: Path) -> None:
    model.read_interactions(ITEMS, STARTS, ENDS)
    save_id_model(model, tmp_path / "saved", None)
    (tmp_path / "saved" / "popularity.json").write_text("[1, 2]")
    with pytest.raises(IDModelError, match=r"popularity\.json: not one whole number for each of the 13 rows"):
        load_id_model(tmp_path / "saved")
