"""Recommendations of a finished run, as a user types them."""

import numpy as np
import pytest
import torch

from hybrid.cli import main
from hybrid.data.prepare import prepare
from hybrid.data.split import Histories, Targets
from hybrid.errors import UserError
from hybrid.llm.windows import target_windows
from hybrid.recommend import recommend_run
from hybrid.runs import train_run
from idmodels.saved import load_id_model

SHORT = ("train.schedule.rounds=1", "train.schedule.id_length=1")


@pytest.fixture
def run(tiny):
    return train_run(tiny(*SHORT, "arm=both"))


def test_both_sides_recommend_what_is_not_in_the_history(run, tiny, capsys):
    found = recommend_run(run.path, None, ["i3", "i4"], "both", 4)
    assert set(found) == {"id", "llm"}
    dataset = prepare(tiny().data)
    rows = torch.tensor([[dataset.item_ids.index("i3"), dataset.item_ids.index("i4")]])
    model, _ = load_id_model(run.best_id)
    with torch.no_grad():
        scores = model.scores(rows, torch.tensor([2]))[0]
    scores[0] = scores[rows[0]] = -torch.inf
    expected = [dataset.item_ids[item] for item in scores.topk(4).indices.tolist()]
    assert [item.item_id for item in found["id"]] == expected
    assert not {item.item_id for item in found["llm"]} & {"i3", "i4"}
    assert main(["recommend", str(run.path), "--history", "i3,i4", "--side", "id", "--top", "1"]) == 0
    item = found["id"][0]
    assert capsys.readouterr().out == f"id:\n   1. {item.text}  [{item.item_id}]  {item.score:.4f}\n"
    assert main(["recommend", str(run.path), "--user", "u3"]) == 0
    assert main(["recommend", str(run.path), "--user", "u333"]) == 2
    assert "unknown user 'u333'; did you mean 'u" in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown item 'i33'; did you mean"):
        recommend_run(run.path, None, ["i33"])


def test_data_that_has_changed_since_is_refused(own_cycle, tiny, capsys):
    run = train_run(tiny(*SHORT, "arm=id_only", f"data.dataset={own_cycle}"))
    command = ["recommend", str(run.path), "--history", "i3, i4"]
    assert main(command) == 0
    (inter,) = own_cycle.glob("*.inter")
    lines = inter.read_text().splitlines()
    inter.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    assert main(command) == 2
    assert f"trained on dataset {run.dataset_fingerprint()}, but {own_cycle} is now" in capsys.readouterr().err
    assert main(["recommend", str(run.path), "--history", " ,"]) == 2
    assert "--history names no item" in capsys.readouterr().err


def test_a_side_that_the_run_has_not_is_an_error(tiny):
    run = train_run(tiny(*SHORT, "arm=id_only"))
    with pytest.raises(UserError, match="no llm side; it has id"):
        recommend_run(run.path, "u1", None, "llm")


def test_nobody_has_no_row_in_the_store():
    train = Histories(np.array([1, 2, 3], np.int32), np.array([0, 2]), np.array([2, 3]))
    asked = Histories(np.array([1, 2], np.int32), np.array([0, 1]), np.array([1, 2]))
    windows = target_windows(train, Targets(np.array([-1, 1]), np.array([0, 0]), asked))
    assert windows.user_rows.tolist() == [-1, 2]
