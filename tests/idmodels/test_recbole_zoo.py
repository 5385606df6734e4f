"""Every sequential model of RecBole through `ZooModel`, on a cycle of twelve items."""

import os
import random
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from idmodels.errors import IDModelError
from idmodels.recbole_compat import recbole_config, recbole_model
from idmodels.recbole_names import zoo_name, zoo_names
from idmodels.recbole_stub import ZooData
from idmodels.recbole_zoo import ZooModel
from idmodels.recbole_zoo_config import zoo_config
from idmodels.settings import IDSettings

N_ITEMS, LENGTH, ROWS, USERS = 13, 8, 24, 6
PAGE = Path(__file__).parents[2] / "docs" / "recbole_zoo.md"
SMALL = {"embedding_size": 16, "hidden_size": 16, "kg_embedding_size": 16, "inner_size": 32, "mlp_hidden_size": [16]}
WITH_USERS = {"Caser", "DIEN", "FOSSIL", "FPMC", "HGN", "HRM", "NPE", "SHAN", "TransRec"}
# Quick learners: 20 steps are enough to rank the next item of the cycle first after nearly every history.
QUICK = {"FDSA", "FEARec", "GCSAN", "GRU4Rec", "GRU4RecF", "GRU4RecKG", "KSR", "LightSANs", "RepeatNet", "SASRec"}


def _data() -> ZooData:
    random_values = torch.Generator().manual_seed(3)
    kinds = torch.cat([torch.zeros(1), torch.arange(N_ITEMS - 1) % 3 + 1]).long()
    tags = torch.stack([kinds, (kinds > 0) * 2, torch.zeros(N_ITEMS)], dim=1).long()
    entities, relations = (torch.randn(rows, 16, generator=random_values) for rows in (N_ITEMS, 4))
    return ZooData(N_ITEMS, USERS, {"kind": kinds, "tags": tags}, entities, relations)


def _rows() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Histories that run around the cycle 1, 2, .., 12, 1; lengths; next items; users."""
    lengths = torch.arange(ROWS) % LENGTH + 1
    items = (torch.arange(LENGTH) + torch.arange(ROWS).unsqueeze(1)) % (N_ITEMS - 1) + 1
    items = items * (torch.arange(LENGTH) < lengths.unsqueeze(1))
    last = items.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
    return items, lengths, last % (N_ITEMS - 1) + 1, torch.arange(ROWS) % USERS


def _make(name: str, data: ZooData | None = None) -> ZooModel:
    torch.manual_seed(0)
    random.seed(0)  # RecBole's own masks and samples
    known = recbole_config(name, "none", {"train_neg_sample_args": None}).final_config_dict
    return ZooModel(name, data or _data(), {key: size for key, size in SMALL.items() if known.get(key)}, LENGTH)


def _train(model: ZooModel, steps: int) -> list[float]:
    items, lengths, targets, users = _rows()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model.train().loss(items, lengths, targets, users)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _scores(model: ZooModel) -> Tensor:
    items, lengths, _, users = _rows()
    with torch.no_grad():
        return model.eval().scores(items, lengths, users)


@pytest.mark.parametrize("name", zoo_names())
def test_each_model_trains_and_scores(name: str) -> None:
    model = _make(name)
    losses = _train(model, 60 if name == "BERT4Rec" else 20)  # its targets are other ones in every step
    assert torch.tensor(losses).isfinite().all()
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    scores = _scores(model)
    assert scores.shape == (ROWS, N_ITEMS)
    assert scores.isfinite().all()
    assert model.item_table().shape == (N_ITEMS, 16)
    assert model.item_embedding.weight.grad.abs().sum() > 0
    if name in QUICK:
        hits = scores[:, 1:].argmax(dim=1) + 1 == _rows()[2]
        assert hits.float().mean() > 0.9


@pytest.mark.parametrize("name", zoo_names())
def test_attached_features_are_read_and_learn(name: str) -> None:
    model = _make(name)
    before = _scores(model)
    features = nn.Parameter(torch.randn(N_ITEMS, 16))
    names = set(model.state_dict())
    plain = model.item_table().detach().clone()
    model.attach_item_features(lambda: features)
    assert torch.equal(model.item_table(), plain + features)
    assert not torch.allclose(_scores(model), before, atol=1e-4)
    model.train().loss(*_rows()).backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    assert set(model.folded_state()) == {weight.removeprefix("model.") for weight in names}


@pytest.mark.parametrize("name", ["BERT4Rec", "DIN", "GRU4Rec", "S3Rec", "TransRec"])
def test_folded_weights_score_alike_in_a_plain_model(name: str) -> None:
    model, plain = _make(name), _make(name)
    features = torch.randn(N_ITEMS, 16)
    model.attach_item_features(lambda: features)
    assert not torch.allclose(_scores(model), _scores(plain), atol=1e-4)
    plain.model.load_state_dict(model.folded_state())
    assert torch.allclose(_scores(model), _scores(plain), atol=1e-6)


@pytest.mark.parametrize("name", sorted(WITH_USERS))
def test_users_count_where_the_model_has_users(name: str) -> None:
    # SHAN starts with vectors so small that another user does not show.
    model = _make(name)
    _train(model, 20)
    items, lengths, _, users = _rows()
    with torch.no_grad():
        others = model.eval().scores(items, lengths, (users + 1) % USERS)
    assert not torch.allclose(_scores(model), others, atol=1e-6)


@pytest.mark.parametrize("name", ["BERT4Rec", "DIEN", "DIN", "SASRec", "SASRecCPR", "SHAN", "TransRec"])
def test_scoring_draws_nothing_at_random_and_an_empty_history_scores_zero(name: str) -> None:
    model = _make(name)
    items, lengths, _, users = _rows()
    state, drawn = torch.random.get_rng_state(), random.getstate()
    scores = _scores(model)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == drawn
    with torch.no_grad():
        short = model.scores(torch.zeros(2, 1, dtype=torch.int64), torch.tensor([0, 0]))
        alone = model.scores(items[5:6, :6], lengths[5:6], users[5:6])
    assert torch.equal(short, torch.zeros(2, N_ITEMS))
    assert torch.allclose(alone[0], scores[5], atol=1e-5)


def test_it_is_recboles_own_loss_and_score() -> None:
    settings = IDSettings("sasrec", 16, LENGTH, inner_width=32, dropout=0.0, attention_dropout=0.0)
    theirs = recbole_model(N_ITEMS, settings).eval()
    sizes = {"hidden_size": 16, "inner_size": 32, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    zoo = ZooModel("recbole:sasrec", ZooData(N_ITEMS), sizes, LENGTH)
    zoo.model.load_state_dict(theirs.state_dict())
    items, lengths, targets, _ = _rows()
    batch = {"item_id_list": items, "item_length": lengths, "item_id": targets}
    assert torch.equal(zoo.eval().scores(items, lengths), theirs.full_sort_predict(batch))
    assert torch.equal(zoo.loss(items, lengths, targets), theirs.calculate_loss(batch))


def test_s3rec_learns_items_after_pretraining() -> None:
    model = _make("S3Rec")
    _train(model, 5)
    model.finetune()
    losses = _train(model, 40)
    assert losses[-1] < 0.5 * losses[0]
    assert (_scores(model)[:, 1:].argmax(dim=1) + 1 == _rows()[2]).float().mean() > 0.9


def test_bert4rec_without_a_hidden_item_has_the_loss_zero() -> None:
    model = _make("BERT4Rec")
    one = torch.tensor([1, 1])  # RecBole never counts a mask at the first place
    loss = model.loss(torch.tensor([[1], [2]]), one, torch.tensor([2, 3]))
    loss.backward()
    assert loss.item() == 0.0
    assert all(weight.grad is None or weight.grad.abs().sum() == 0 for weight in model.parameters())


def test_a_model_of_the_zoo_leaves_the_process_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    # SINE's module switches anomaly detection on for good, FEARec's prints.
    for name in ("SINE", "FEARec"):
        _make(name)
    assert not torch.is_anomaly_enabled()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("FDSA", ZooData(5), "FDSA needs at least one item feature"),
        ("KSR", ZooData(5), "KSR needs entity_vectors"),
        ("KSR", ZooData(5, entity_vectors=torch.ones(5, 64)), "KSR needs relation_vectors"),
        ("recbole:nram", ZooData(5), "no sequential model 'recbole:nram'; did you mean 'NARM'"),
        ("nothing like it", ZooData(5), "accepted: BERT4Rec, "),
    ],
)
def test_what_is_missing_is_said(name: str, data: ZooData, message: str) -> None:
    with pytest.raises(IDModelError, match=message):
        ZooModel(name, data)


def test_data_that_do_not_fit() -> None:
    with pytest.raises(IDModelError, match="item feature 'kind' has 3 rows, but there are 5 items"):
        ZooData(5, item_features={"kind": torch.ones(3).long()})
    with pytest.raises(IDModelError, match="n_items >= 2"):
        ZooData(1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hiden_size": 8}, "SASRec has no setting 'hiden_size'; did you mean 'hidden_size'"),
        ({"loss_type": "print('code')"}, "loss_type must be a plain word"),
    ],
)
def test_wrong_settings(config: dict, message: str) -> None:
    with pytest.raises(IDModelError, match=re.escape(message)):
        zoo_config("SASRec", ZooData(5), config, 8, torch.device("cpu"))


@pytest.mark.parametrize("name", ["FDSA", "GRU4RecF", "SASRecF", "TransRec"])
def test_a_model_works_on_the_device_that_it_is_moved_to(name: str) -> None:
    items, lengths, _, users = (column.to("meta") for column in _rows())
    model = _make(name).to("meta")
    assert model.scores(items, lengths, users).device.type == "meta"


@pytest.mark.parametrize("name", ["DIEN", "DIN", "KSR"])
def test_tensors_beside_the_weights_move_with_them(name: str) -> None:
    kept = [value for part in _make(name).to("meta").modules() for value in vars(part).values()]
    devices = [value.device.type for value in kept if isinstance(value, Tensor)]
    assert devices
    assert set(devices) == {"meta"}


@pytest.mark.parametrize("overrides", [{}, {"use_gpu": True, "gpu_id": "1"}])
def test_recbole_asks_for_no_gpu_and_hides_none(overrides: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: bool(asked.append(True)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    config = recbole_config("SASRec", "none", {"train_neg_sample_args": None, **overrides})
    assert config["device"] == torch.device("cpu")
    assert not asked  # with the devices that RecBole sets meanwhile, it would be the answer for the whole process
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_too_long_a_history_and_masks_that_hide_nothing() -> None:
    with pytest.raises(IDModelError, match="histories of 9 items, but this model reads at most 8"):
        _make("SASRec").scores(torch.ones(1, 9, dtype=torch.int64), torch.tensor([9]))
    with pytest.raises(IDModelError, match="BERT4Rec hides no item of 4 at mask_ratio"):
        ZooModel("BERT4Rec", ZooData(5), max_length=4)


def test_names_are_found_in_any_spelling() -> None:
    assert zoo_name("recbole:NextItNet") == zoo_name("nextitnet") == "NextItNet"


def test_the_page_lists_every_model_that_recbole_ships() -> None:
    listed = re.findall(r"^\| `recbole:(\w+)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert tuple(listed) == zoo_names()
