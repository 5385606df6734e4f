"""The ID ranker's states stand in the order of the targets, however they were batched."""

import numpy as np
import pytest
import torch

from hybrid.data.split import Histories, Targets
from hybrid.evaluation import rankers
from hybrid.evaluation.rankers import IDRanker
from idmodels.registry import create_id_model
from idmodels.settings import IDSettings

N_ITEMS, LENGTH = 23, 6


@pytest.fixture
def targets():
    """Histories of 0 to 9 items in no order of length."""
    random = np.random.default_rng(2)
    lengths = np.array([3, 9, 1, 6, 0, 2, 7, 5, 5, 1, 8])
    ends = np.cumsum(lengths)
    histories = Histories(random.integers(1, N_ITEMS, lengths.sum()).astype(np.int32), ends - lengths, ends)
    return Targets(np.arange(len(lengths)), random.integers(1, N_ITEMS, len(lengths)), histories)


@pytest.mark.parametrize("model", ["sasrec", "gru4rec"])
@pytest.mark.parametrize(("batch_users", "positions"), [(1, 4096), (4, 4096), (100, 4096), (100, 12), (100, 1)])
def test_states_equal_those_of_single_histories(targets, model, batch_users, positions, monkeypatch):
    monkeypatch.setattr(rankers, "_CPU_POSITIONS", positions)
    torch.manual_seed(1)
    id_model = create_id_model(N_ITEMS, IDSettings(model, 8, LENGTH, inner_width=16))
    ranker = IDRanker(id_model, batch_users, torch.device("cpu"))
    states = ranker.user_states(targets)
    assert id_model.training  # as it was
    id_model.eval()
    for row in range(len(targets)):
        history = torch.from_numpy(targets.histories.row(row)[-LENGTH:].astype(np.int64))
        expected = id_model.encode(history[None])[0, -1] if len(history) else torch.zeros(8)
        torch.testing.assert_close(states[row], expected, atol=1e-6, rtol=0)


def test_item_features_are_computed_once(targets):
    id_model = create_id_model(N_ITEMS, IDSettings("sasrec", 8, LENGTH, inner_width=16))
    calls = []
    id_model.attach_item_features(lambda: calls.append(1) or torch.zeros(N_ITEMS, 8))
    IDRanker(id_model, 2, torch.device("cpu")).user_states(targets)
    assert len(calls) == 1
