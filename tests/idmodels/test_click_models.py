"""What every registered click model must do."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from idmodels import recbole_clicks
from idmodels.click import DISLIKED, LIKED, ClickBatch, ClickModel
from idmodels.click_registry import click_model_names, create_click_model
from idmodels.click_settings import ClickSettings
from idmodels.errors import IDModelError
from idmodels.recbole_clicks import UNSUPPORTED
from idmodels.recbole_names import context_names
from idmodels.settings import IDSettings

N_ITEMS, LENGTH, KINDS = 31, 8, 6
CATEGORIES = torch.arange(N_ITEMS) % KINDS
SEQUENCE = IDSettings("gru4rec", width=16, max_length=LENGTH, inner_width=32, layers=1, dropout=0.0)
# (model, changes): every registered model and each of its ways, a sequential one, and one of each kind of RecBole's.
FORMS = [
    *[(name, {}) for name in click_model_names()],
    ("din", {"activation": "prelu"}),
    ("sim", {"search": "hard"}),
    ("gru4rec", {}),
    ("recbole:PNN", {}),
    ("recbole:CORE", {}),
]
LAST_ONLY = ("gru4rec", "recbole:CORE")  # their state does not depend on the target
MARKED = ("dcnv2", "deepfm", "din", "sim")  # the order of behaviours and marks reach them in full


def _make(name: str, **changes: object) -> ClickModel:
    torch.manual_seed(0)
    sizes = {"width": 16, "max_length": LENGTH, "found_items": 4, "recent_items": 2}
    widths = {"attention_widths": (16,), "hidden_widths": (32,)}
    settings = ClickSettings(model=name, **(sizes | widths | changes))
    return create_click_model(
        N_ITEMS, settings, 7, CATEGORIES.unsqueeze(1) + 1, replace(SEQUENCE, max_length=settings.max_length)
    )


@pytest.fixture(params=FORMS, ids=str)
def make(request: pytest.FixtureRequest) -> Callable[..., ClickModel]:
    name, changes = request.param
    return lambda **more: _make(name, **(changes | more))


def _clicks(rows: int, generator: torch.Generator, liked: bool = False) -> ClickBatch:
    """Clicked exactly where the history holds an item of the target's category, or where its first item was liked."""
    lengths = torch.randint(1, LENGTH + 1, (rows,), generator=generator)
    histories = torch.randint(1, N_ITEMS, (rows, LENGTH), generator=generator)
    histories = histories * (torch.arange(LENGTH) < lengths.unsqueeze(1))
    targets = torch.randint(1, N_ITEMS, (rows,), generator=generator)
    marks = torch.randint(DISLIKED, LIKED + 1, (rows, 1), generator=generator) * (histories > 0)
    known = (CATEGORIES[histories] == CATEGORIES[targets].unsqueeze(1)) & (histories > 0)
    labels = marks[:, 0] == LIKED if liked else known.any(dim=1)
    return ClickBatch(torch.arange(rows) % 7, histories, marks, lengths, targets, labels.long())


def auc(scores: Tensor, labels: Tensor) -> float:
    """Share of pairs of a click and no click that are in the right order."""
    return (scores[labels == 1].unsqueeze(1) > scores[labels == 0]).double().mean().item()


def _learn(model: ClickModel, steps: int, liked: bool = False) -> float:
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(_clicks(256, generator, liked)).backward()
        optimizer.step()
    batch = _clicks(1000, generator, liked)
    with torch.no_grad():
        return auc(model.eval().logits(batch), batch.labels)


def test_a_planted_rule_is_learnt(make: Callable[..., ClickModel]) -> None:
    # A gated unit and a mean of two lists are no tools for "any of them": more than chance is what they are asked for.
    name = make().settings.model
    weak = {"gru4rec": 0.9, "recbole:PNN": 0.95}
    assert _learn(make(), 150) > weak.get(name, 0.98)


@pytest.mark.parametrize("name", [*MARKED, "gru4rec", "sasrec", "bsarec", "srgnn"])
def test_what_the_user_thought_of_a_behaviour_is_read(name: str) -> None:
    assert _learn(_make(name), 60, liked=True) > 0.98


def _example() -> ClickBatch:
    return _clicks(20, torch.Generator().manual_seed(4))


def _rows(histories: list[list[int]], lengths: list[int], targets: list[int], labels: list[int] | None = None):
    items, count = torch.tensor(histories), len(targets)
    marks = (items > 0) * LIKED
    answers = torch.tensor(labels or [0] * count)
    return ClickBatch(torch.zeros(count).long(), items, marks, torch.tensor(lengths), torch.tensor(targets), answers)


def test_shapes(make: Callable[..., ClickModel]) -> None:
    model = make()
    assert model.logits(_example()).shape == (20,)
    assert model.user_state(_example()).shape == (20, model.state_width)
    assert model.item_table().shape == (N_ITEMS, model.width)


def _cut(batch: ClickBatch, longest: int) -> ClickBatch:
    lengths = batch.lengths.clamp(max=longest)
    return replace(batch, histories=batch.histories[:, :longest], marks=batch.marks[:, :longest], lengths=lengths)


def test_padding_changes_nothing(make: Callable[..., ClickModel]) -> None:
    # In training too: what is padded must not enter the statistics of Dice. The last column is beyond every history.
    short = _cut(_example(), LENGTH - 1)
    pad = torch.nn.functional.pad
    wide = replace(short, histories=pad(short.histories, (0, 1), value=7), marks=pad(short.marks, (0, 1), value=1))
    if make().settings.model.startswith("recbole:"):
        wide = replace(wide, histories=pad(short.histories, (0, 1)))  # RecBole's models know padding by the item 0
    for mode in (True, False):
        found = []
        for batch in (short, wide):
            model = make().train(mode)
            torch.manual_seed(1)  # dropout
            found.append((model.user_state(batch), model.logits(batch)))
        assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
        assert torch.allclose(found[0][1], found[1][1], atol=1e-5)


def test_one_row_is_like_the_same_row_of_many(make: Callable[..., ClickModel]) -> None:
    model, batch = make().eval(), _example()
    alone = ClickBatch(*(getattr(batch, name)[3:4] for name in batch.__dataclass_fields__))
    assert torch.allclose(model.logits(alone), model.logits(batch)[3:4], atol=1e-5)
    if not model.settings.model.startswith("recbole:"):  # its batch normalisation takes no single row
        assert model.train().logits(alone).isfinite().all()


def test_the_state_depends_on_history_and_target(make: Callable[..., ClickModel]) -> None:
    model = make().eval()
    states = model.user_state(_rows([[1, 2, 3], [1, 2, 3], [4, 2, 3]], [3, 3, 3], [8, 9, 8]))
    target_read = model.settings.model in ("din", "sim")
    assert torch.allclose(states[0], states[1], atol=1e-4) != target_read
    # Item 4 in the place of item 1: no hard search for item 8 finds either of them, and the recent two are the same.
    blind = model.settings.model == "sim" and model.settings.search == "hard"
    assert torch.allclose(states[0], states[2], atol=1e-4) == blind


def test_an_empty_history_has_the_state_zero(make: Callable[..., ClickModel]) -> None:
    for mode in (True, False):
        model = make().train(mode)
        batch = _rows([[0, 0], [3, 4]], [0, 2], [5, 5], [1, 0])
        states = model.user_state(batch)
        assert torch.equal(states[0], torch.zeros(model.state_width))
        assert states[1].abs().sum() > 0
        model.loss(batch).backward()
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
        assert model.logits(batch)[:1].isfinite().all()


@pytest.mark.parametrize(("name", "changes"), [form for form in FORMS if form[0] in (*MARKED, "gru4rec")])
def test_gradient_reaches_every_weight(name: str, changes: dict) -> None:
    model = _make(name, **changes).train()
    model.loss(_clicks(200, torch.Generator().manual_seed(2))).backward()
    for weight_name, weight in model.named_parameters():
        if weight_name == "distance_embedding.weight":
            # Histories of 8 reach the first four powers of two.
            assert (weight.grad.abs().sum(dim=1) > 0).tolist() == [True] * 4 + [False] * (len(weight) - 4)
        assert weight.grad is not None, weight_name
        assert weight.grad.abs().sum() > 0, weight_name


@pytest.mark.parametrize(("name", "changes"), [form for form in FORMS if form[0] in (*MARKED, "gru4rec")])
def test_item_features_are_read_in_history_and_target(name: str, changes: dict) -> None:
    model = _make(name, **changes).eval()
    batch = _rows([[1, 2]], [2], [7])
    before = model.logits(batch)
    features = nn.Parameter(torch.randn(N_ITEMS, 16))
    names = set(model.state_dict())
    model.attach_item_features(lambda: features)
    after = model.logits(batch)
    assert not torch.allclose(before, after, atol=1e-4)
    after.sum().backward()
    touched = set(features.grad.abs().sum(dim=1).nonzero().flatten().tolist())
    assert {2, 7} <= touched <= {1, 2, 7}
    assert set(model.state_dict()) == names


@pytest.mark.parametrize("name", ["recbole:PNN", "recbole:CORE"])
def test_a_model_of_recbole_says_that_it_takes_no_features(name: str) -> None:
    with pytest.raises(IDModelError, match=r"cannot take item features; switch bridges\.knowledge off"):
        _make(name).attach_item_features(lambda: torch.zeros(N_ITEMS, 16))


def test_state_dict_round_trip(make: Callable[..., ClickModel]) -> None:
    model, other = make().eval(), make()
    torch.manual_seed(9)
    for weight in other.parameters():
        nn.init.normal_(weight)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval().logits(_example()), model.logits(_example()))


def test_a_weight_that_recbole_leaves_out_is_trained_and_saved() -> None:
    model = _make("recbole:FwFM")
    model.loss(_example()).backward()
    assert model.state_dict(keep_vars=True)["inner.weight"].grad.abs().sum() > 0


def test_too_long_a_history_is_refused(make: Callable[..., ClickModel]) -> None:
    with pytest.raises(IDModelError, match="histories of 9 items, but this model reads at most 8"):
        make().logits(_rows([[1] * 9] * 2, [9, 9], [1, 1]))


def test_users_count_where_the_model_has_users() -> None:
    model, batch = _make("recbole:PNN").eval(), _example()
    others = replace(batch, users=(batch.users + 1) % 7)
    assert not torch.allclose(model.logits(batch), model.logits(others), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recbole:KD_DAGFM", "KD_DAGFM cannot judge clicks here: it learns from a teacher"),
        ("recbole:SASRecCPR", "SASRecCPR cannot judge clicks here: it does not score single items"),
        ("recbole:DepFM", "no sequential model 'recbole:DepFM'.*; context-aware ones: AFM, "),
        ("recbole:FDSA", "FDSA needs at least one item feature"),
    ],
)
def test_models_of_recbole_that_cannot_serve(name: str, message: str) -> None:
    with pytest.raises(IDModelError, match=message):
        _make(name)


@pytest.mark.parametrize("name", [name for name in context_names() if name not in UNSUPPORTED])
def test_every_context_aware_model_of_recbole_learns(name: str) -> None:
    model, batch = _make(f"recbole:{name}"), _clicks(200, torch.Generator().manual_seed(2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        losses.append(model.loss(batch))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert model.logits(batch).isfinite().all()


@pytest.mark.parametrize("name", [name for name in context_names() if name not in UNSUPPORTED])
def test_every_context_aware_model_of_recbole_moves_to_another_device(name: str, monkeypatch) -> None:
    monkeypatch.setattr(recbole_clicks, "multiplies_in", lambda *given: nullcontext())  # autocast has no meta device
    model, batch = _make(f"recbole:{name}").to("meta"), _example().to("meta")
    assert model.logits(batch).device.type == "meta"
    assert model.user_state(batch).device.type == "meta"


@pytest.mark.parametrize(
    ("name", "last"),
    [("DIN", "dnn_predict_layers"), ("DIEN", "dnn_predict_layer"), ("DeepFM", "deep_predict_layer")],
)
def test_recboles_sigmoid_is_undone_under_autocast_and_at_its_ends(name: str, last: str) -> None:
    model, batch = _make(f"recbole:{name}").eval(), _example()
    bias = model.inner.get_submodule(last).bias
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        before = model.logits(batch)
        bias += 7.0  # bfloat16 has no number between 0.996 and 1, where the sigmoid now is
        assert torch.allclose(model.logits(batch), before + 7.0, atol=1e-2)
        bias += 100.0
        assert torch.allclose(model.logits(batch), torch.tensor(13.8), atol=0.1)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("dinn", "unknown click model 'dinn'; did you mean 'din'"),
        ("x", "accepted: dcnv2, deepfm, din, sim, bert4rec, "),
    ],
)
def test_unknown_name_offers_the_nearest(wrong: str, hint: str) -> None:
    with pytest.raises(IDModelError, match=hint):
        create_click_model(5, ClickSettings(model=wrong))


def test_a_catalogue_needs_an_item() -> None:
    with pytest.raises(IDModelError, match="n_items >= 2"):
        create_click_model(1, ClickSettings())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"width": 9}, "width 9 must be a multiple of heads 2"),
        ({"hidden_widths": ()}, "hidden_widths must be one or more widths"),
        ({"attention_widths": (0,)}, "attention_widths must be one or more widths"),
        ({"activation": "relu"}, "activation must be one of dice, prelu, got 'relu'"),
        ({"search": "fuzzy"}, "search must be one of soft, hard"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"search_weight": -1.0}, "search_weight must not be negative"),
    ],
)
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClickSettings(**change)


@pytest.mark.parametrize("name", ["recbole:DCN", "recbole:NFM", "recbole:DIN", "recbole:DSSM"])
def test_a_batch_of_one_row_is_learned_from(name: str) -> None:
    model = _make(name).train()
    model.loss(_clicks(1, torch.Generator().manual_seed(1))).backward()
    assert all(part.training for part in model.modules())


def test_the_first_user_has_a_vector_like_any_other() -> None:
    model = _make("recbole:Caser").train()
    batch = _clicks(1, torch.Generator().manual_seed(1))
    model.loss(batch).backward()
    assert batch.users.tolist() == [0]
    users = model.inner.user_embedding.weight.grad.abs().sum(dim=1)
    assert users.nonzero().flatten().tolist() == [1]  # row 0 is nobody known
