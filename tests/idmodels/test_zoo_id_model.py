"""RecBole's models behind the contract: which rows they learn from, whose users they know, and what states are."""

import numpy as np
import pytest
import torch

from idmodels.batches import IDBatch, IDBatches
from idmodels.errors import IDModelError
from idmodels.recbole_names import zoo_names
from idmodels.recbole_stub import ZooData
from idmodels.recbole_zoo import ZooModel
from idmodels.registry import create_id_model
from idmodels.saved import load_id_model, save_id_model
from idmodels.settings import IDSettings
from idmodels.training import fit, sequence_loss

N_ITEMS, LENGTH = 9, 4
ITEMS = np.array([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 5, 4])
STARTS, ENDS = np.array([0, 7, 9]), np.array([7, 9, 12])


def _model(name: str, n_users: int = 0, **settings: object):
    torch.manual_seed(0)
    return create_id_model(N_ITEMS, IDSettings(name, max_length=LENGTH, recbole=settings), n_users)


def _batches() -> IDBatches:
    return IDBatches(ITEMS, STARTS, ENDS, LENGTH, batch_targets=100, seed=0)


def test_every_target_has_a_row_with_the_last_items_before_it_and_its_user() -> None:
    model = _model("recbole:FPMC", n_users=3)
    model.read_interactions(ITEMS, STARTS, ENDS)
    (batch,) = _batches().epoch(0)
    histories, lengths, targets, rows, users = model._rows(batch)
    found = sorted(
        (int(row), history[:length].tolist(), int(target), int(user))
        for history, length, target, row, user in zip(histories, lengths, targets, rows, users, strict=True)
    )
    assert found == [
        (0, [1], 2, 1),
        (1, [1, 2], 3, 1),
        (2, [1, 2, 3], 4, 1),
        (3, [1, 2, 3, 4], 5, 1),
        (4, [2, 3, 4, 5], 6, 1),  # a window of the batch would begin at 5 here
        (5, [3, 4, 5, 6], 7, 1),
        (7, [8], 1, 2),
        (9, [2], 5, 3),
        (10, [2, 5], 4, 3),
    ]


def test_the_loss_is_recboles_own_on_these_rows_and_its_states_those_the_bridges_get() -> None:
    model = _model("recbole:NARM", embedding_size=8, hidden_size=8, dropout_probs=[0.0, 0.0])
    model.read_interactions(ITEMS, STARTS, ENDS)
    (batch,) = _batches().epoch(0)
    histories, lengths, targets, rows, _ = model._rows(batch)
    loss, scored = sequence_loss(model, batch, loss=lambda *_: torch.tensor(99.0))
    padded = torch.nn.functional.pad(histories, (0, LENGTH - histories.shape[1]))
    their_batch = {"item_id_list": padded, "item_length": lengths, "item_id": targets}
    assert torch.allclose(loss, model.zoo.model.calculate_loss(their_batch), atol=1e-6)
    assert torch.allclose(scored.states, model.last_states(histories, lengths), atol=1e-6)
    assert torch.equal(scored.targets, targets)
    assert torch.equal(scored.rows, rows)
    scored.states.sum().backward()
    assert model.item_embedding.weight.grad.abs().sum() > 0


NEEDS_MORE = {"FDSA", "GRU4RecF", "GRU4RecKG", "KSR", "S3Rec", "SASRecF"}
STATES = ["CORE", "FEARec", "GCSAN", "GRU4Rec", "LightSANs", "NARM", "NextItNet", "SASRec", "SINE", "SRGNN", "STAMP"]


def test_which_models_have_states() -> None:
    others = [name for name in zoo_names() if name not in NEEDS_MORE | {"BERT4Rec"}]
    assert [name for name in others if _model(f"recbole:{name}").has_states] == STATES
    assert not _model("recbole:BERT4Rec", mask_ratio=0.5).has_states


@pytest.mark.parametrize("name", STATES)
def test_states_times_items_are_recboles_scores(name: str) -> None:
    model = _model(f"recbole:{name}")
    fit(model, _batches(), epochs=3, learning_rate=1e-2)
    model.eval()
    items, lengths = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0], [0, 0, 0, 0]]), torch.tensor([4, 2, 0])
    with torch.no_grad():
        theirs = model.zoo.scores(items, lengths)
        ours = model.last_states(items, lengths) @ model.item_table().T
        every = model.encode(items)
    assert theirs[:2].std() > 1e-6
    assert torch.allclose(ours, theirs, atol=1e-5, rtol=1e-4)
    assert torch.allclose(every[0, 3], model.last_states(items, lengths)[0], atol=1e-5)
    assert torch.allclose(every[0, 1], model.last_states(items[:1], torch.tensor([2]))[0], atol=1e-5)


def test_a_known_user_is_served_with_its_own_vector_also_after_saving(tmp_path) -> None:
    model = _model("recbole:HGN", n_users=3)
    fit(model, _batches(), epochs=3, learning_rate=1e-2)
    save_id_model(model.eval(), tmp_path / "saved", None)
    loaded, _ = load_id_model(tmp_path / "saved")
    items, lengths = torch.tensor([[1, 2], [1, 2]]), torch.tensor([2, 2])
    with torch.no_grad():
        scores = loaded.scores(items, lengths, torch.tensor([0, -1]))
        assert torch.equal(scores, model.scores(items, lengths, torch.tensor([0, -1])))
        assert not torch.allclose(scores[0], scores[1], atol=1e-4)
        assert torch.equal(scores[1], loaded.scores(items, lengths)[1])  # nobody known


def test_a_model_without_states_has_scores_only() -> None:
    model = _model("recbole:DIN")
    assert not model.has_states
    with pytest.raises(IDModelError, match="recbole:DIN has no state"):
        model.encode(torch.tensor([[1, 2]]))


@pytest.mark.parametrize("name", ["recbole:NARM", "recbole:DIN"])
def test_a_batch_of_padding_has_the_loss_zero(name: str) -> None:
    empty = torch.zeros(2, 3, dtype=torch.int64)
    loss, scored = sequence_loss(_model(name), IDBatch(empty, empty, empty - 1))
    assert loss.item() == 0.0
    assert scored is None if name == "recbole:DIN" else scored.states.shape == (0, 64)
    loss.backward()


def test_draws_follow_torchs_generator_and_leave_the_others_alone() -> None:
    import random

    losses = []
    for _ in range(2):
        model = _model("recbole:BERT4Rec", hidden_size=8, mask_ratio=0.5)
        torch.manual_seed(3)
        random.seed(len(losses))
        before = random.getstate()
        losses.append(sequence_loss(model, next(_batches().epoch(0)))[0].item())
        assert random.getstate() == before
    assert losses[0] == losses[1] > 0


def test_weights_with_a_row_per_item_are_found() -> None:
    def found(name: str) -> set[str]:
        return set(ZooModel(name, ZooData(N_ITEMS, 3), max_length=6).item_weights())

    assert found("SASRec") == {"item_embedding.weight"}
    assert found("BERT4Rec") == {"item_embedding.weight", "output_bias"}
    assert found("FPMC") == {"IL_emb.weight", "LI_emb.weight", "IU_emb.weight"}


def test_attached_features_are_added_once_and_may_be_made_of_the_own_vectors() -> None:
    model = _model("recbole:NARM")
    own = model.own_table().detach().clone()
    model.attach_item_features(lambda: 0.5 * model.own_table())
    torch.testing.assert_close(model.own_table().detach(), own)
    torch.testing.assert_close(model.item_table().detach(), 1.5 * own)
