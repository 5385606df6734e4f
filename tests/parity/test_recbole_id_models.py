"""Our models against RecBole's own classes: same weights, same scores, same loss, same gradients."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hybrid.export.recbole import export_id_model, load_into_recbole
from idmodels.batches import IDBatch
from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.recbole_compat import (
    from_recbole,
    recbole_class_name,
    recbole_config,
    recbole_model,
    require_recbole,
    to_recbole,
)
from idmodels.registry import create_id_model
from idmodels.saved import load_weights, save_id_model
from idmodels.scoring import last_states
from idmodels.settings import IDSettings
from idmodels.training import sequence_loss

N_ITEMS, LENGTH = 41, 12
TOLERANCE = 1e-5


@pytest.fixture(params=["bert4rec", "gru4rec", "sasrec"])
def settings(request: pytest.FixtureRequest) -> IDSettings:
    return _settings(request.param)


@pytest.fixture(params=["gru4rec", "sasrec"])
def causal_settings(request: pytest.FixtureRequest) -> IDSettings:
    return _settings(request.param)


def _settings(name: str) -> IDSettings:
    return IDSettings(name, 24, LENGTH, layers=2, heads=3, inner_width=40, dropout=0.0, attention_dropout=0.0)


@pytest.fixture
def histories() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    lengths = torch.tensor([1, 2, 5, 11, 12, 12, 7, 3])
    items = torch.randint(1, N_ITEMS, (len(lengths), LENGTH))
    return items * (torch.arange(LENGTH) < lengths.unsqueeze(1)), lengths


def _lively(model: nn.Module) -> nn.Module:
    """Weights large enough that a difference in arithmetic would show."""
    torch.manual_seed(5)
    for weight in model.parameters():
        weight.data = torch.randn_like(weight) * 0.3
    return model


def _their_scores(theirs: nn.Module, items: Tensor, lengths: Tensor) -> Tensor:
    inputs = {"item_id_list": items, "item_length": lengths}
    with torch.no_grad():
        return theirs.eval().full_sort_predict(inputs)


def _our_scores(ours: IDModel, items: Tensor, lengths: Tensor) -> Tensor:
    with torch.no_grad():
        return last_states(ours.eval(), items, lengths) @ ours.item_table().T


def _gap(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.1  # equal because all is zero would prove nothing
    return float((ours - theirs).abs().max())


def test_recbole_weights_score_the_same_in_our_model(settings: IDSettings, histories: tuple[Tensor, Tensor]) -> None:
    theirs = _lively(recbole_model(N_ITEMS, settings))
    ours = create_id_model(N_ITEMS, settings)
    load_weights(ours, theirs.state_dict(), "RecBole")
    assert _gap(_our_scores(ours, *histories), _their_scores(theirs, *histories)) <= TOLERANCE


def test_export_with_folded_features_scores_the_same_in_recbole(
    settings: IDSettings, histories: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    ours = create_id_model(N_ITEMS, settings)
    _lively(ours)
    features = torch.randn(N_ITEMS, ours.width)
    ours.attach_item_features(lambda: features)
    save_id_model(ours, tmp_path / "saved", None)
    export_id_model(tmp_path / "saved", tmp_path / "recbole")
    theirs = load_into_recbole(tmp_path / "recbole")
    assert type(theirs).__module__.startswith("recbole.model.sequential_recommender")
    assert _gap(_our_scores(ours, *histories), _their_scores(theirs, *histories)) <= TOLERANCE


def test_every_position_equals_recboles_prefix_row(
    causal_settings: IDSettings, histories: tuple[Tensor, Tensor]
) -> None:
    items, lengths = histories
    theirs = _lively(recbole_model(N_ITEMS, causal_settings)).eval()
    ours = create_id_model(N_ITEMS, causal_settings).eval()
    ours.load_state_dict(theirs.state_dict())
    states = ours.encode(items).detach()
    for row, length in enumerate(lengths.tolist()):
        seen = torch.arange(1, length + 1)
        prefixes = items[row].expand(length, -1) * (torch.arange(LENGTH) < seen.unsqueeze(1))
        assert _gap(states[row, :length], theirs(prefixes, seen).detach()) <= TOLERANCE


def test_loss_and_gradients_equal_calculate_loss(causal_settings: IDSettings, histories: tuple[Tensor, Tensor]) -> None:
    items, lengths = histories
    theirs = _lively(recbole_model(N_ITEMS, causal_settings)).train()
    ours = create_id_model(N_ITEMS, causal_settings).train()
    ours.load_state_dict(theirs.state_dict())
    targets = torch.randint(1, N_ITEMS, (len(lengths),))
    their_loss = theirs.calculate_loss({"item_id_list": items, "item_length": lengths, "item_id": targets})
    placed = torch.zeros_like(items)
    placed[torch.arange(len(items)), lengths - 1] = targets
    our_loss = sequence_loss(ours, IDBatch(items, placed, placed))[0]
    assert our_loss.item() == pytest.approx(their_loss.item(), abs=TOLERANCE)
    their_loss.backward()
    our_loss.backward()
    reference = dict(theirs.named_parameters())
    for name, weight in ours.named_parameters():
        assert torch.allclose(weight.grad, reference[name].grad, atol=TOLERANCE), name


def test_cloze_loss_and_gradients_equal_calculate_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole leaves out a hidden item at position 0, which is its padding of positions: none is hidden there."""
    torch.manual_seed(3)
    settings = _settings("bert4rec")
    lengths = torch.tensor([2, 5, 11, 12, 7])
    items = torch.randint(1, N_ITEMS, (5, LENGTH)) * (torch.arange(LENGTH) < lengths.unsqueeze(1))
    hidden = (torch.rand(5, LENGTH) < 0.3) & (items != 0)
    hidden[torch.arange(5), lengths - 1] = True
    hidden[:, 0] = False
    theirs = _lively(recbole_model(N_ITEMS, settings)).train()
    ours = create_id_model(N_ITEMS, settings).train()
    ours.load_state_dict(theirs.state_dict())
    places = [row.nonzero().flatten() for row in hidden]
    theirs.MASK_ITEM_SEQ, theirs.MASK_INDEX, theirs.POS_ITEMS, theirs.NEG_ITEMS = "masked", "index", "positive", "none"
    their_loss = theirs.calculate_loss(
        {
            "masked": items.masked_fill(hidden, N_ITEMS),
            "index": nn.utils.rnn.pad_sequence(places, batch_first=True),
            "positive": nn.utils.rnn.pad_sequence([items[n, p] for n, p in enumerate(places)], batch_first=True),
            "none": None,
        }
    )
    monkeypatch.setattr("idmodels.bert4rec.hide", lambda given, ratio: hidden)
    targets = torch.nn.functional.pad(items[:, 1:], (0, 1))
    inputs = items * (targets != 0)  # the last item is a target only; the longest history has L - 1 inputs
    our_loss = sequence_loss(ours, IDBatch(inputs[:, :-1], targets[:, :-1], inputs[:, :-1]))[0]
    assert our_loss.item() == pytest.approx(their_loss.item(), abs=TOLERANCE)
    their_loss.backward()
    our_loss.backward()
    reference = dict(theirs.named_parameters())
    for name, weight in ours.named_parameters():
        assert torch.allclose(weight.grad, reference[name].grad, atol=TOLERANCE), name


def test_initialisation_has_recboles_distributions(settings: IDSettings) -> None:
    big = IDSettings(settings.model, 64, 50, layers=2, heads=2, inner_width=128)
    torch.manual_seed(0)
    theirs, ours = recbole_model(1000, big).state_dict(), create_id_model(1000, big).state_dict()
    assert list(theirs) == list(ours)
    for name, weight in ours.items():
        reference = theirs[name]
        assert weight.shape == reference.shape
        spread = max(float(reference.std()), 1e-12)
        assert float(weight.std()) == pytest.approx(float(reference.std()), rel=0.2, abs=1e-12), name
        # The means of two draws of n numbers differ by sqrt(2 / n) spreads; 4 of those are one in ten thousand.
        assert abs(float(weight.mean() - reference.mean())) < 4 * (2 / weight.numel()) ** 0.5 * spread + 1e-12, name
        assert float(weight.abs().max()) == pytest.approx(float(reference.abs().max()), rel=0.4), name


@pytest.mark.parametrize("model", ["bert4rec", "sasrec", "gru4rec"])
def test_the_settings_survive_recboles_keys(model: str) -> None:
    # GRU4Rec has neither heads nor attention, so those stay at their defaults.
    settings = IDSettings(model, width=30, max_length=7, layers=3, inner_width=40, dropout=0.2)
    config = {"model": recbole_class_name(settings), **to_recbole(settings)}
    assert from_recbole(config) == settings
    assert (config["MAX_ITEM_LIST_LENGTH"], config["loss_type"]) == (7, "CE")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "Caser"}, "'Caser' has no counterpart here; accepted: BERT4Rec, GRU4Rec, "),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu', got 'relu'"),
        ({"n_layers": "__import__('os')"}, "RecBole config: "),
    ],
)
def test_configs_we_cannot_follow(change: dict[str, Any], message: str) -> None:
    with pytest.raises(IDModelError, match=message):
        from_recbole({"model": "SASRec", **to_recbole(IDSettings()), **change})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(IDModelError, match="no hidden_size"):
        from_recbole({"model": "SASRec"})


def test_config_reads_no_command_line_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    monkeypatch.setattr(sys, "argv", ["program", "--hidden_size=7", "train"])
    config = recbole_config("SASRec", "ml-100k", {"loss_type": "CE", "train_neg_sample_args": None})
    assert config["hidden_size"] == 64
    assert sys.argv == ["program", "--hidden_size=7", "train"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    assert list(tmp_path.iterdir()) == []


def test_without_recbole_one_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "recbole", None)
    with pytest.raises(IDModelError, match=r"not installed: pip install --no-deps recbole==1\.2\.1"):
        require_recbole()


def test_recboles_trainer_resumes_from_the_export(
    settings: IDSettings, histories: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = create_id_model(N_ITEMS, settings)
    _lively(ours)
    save_id_model(ours, tmp_path / "saved", None)
    export_id_model(tmp_path / "saved", tmp_path / "recbole")
    theirs = recbole_model(N_ITEMS, settings)
    config = recbole_config(recbole_class_name(settings), "none", to_recbole(settings))
    from recbole.trainer import Trainer

    Trainer(config, theirs).resume_checkpoint(tmp_path / "recbole" / "model.pth")
    assert _gap(_our_scores(ours, *histories), _their_scores(theirs, *histories)) <= TOLERANCE
