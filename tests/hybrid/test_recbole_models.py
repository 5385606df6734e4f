"""RecBole's own sequential models through the command line: alone, beside a language model, evaluated and exported."""

import json

import pytest
import torch

from hybrid.checkpoint_files import load_tensors
from hybrid.cli import main
from hybrid.export.recbole import load_into_recbole
from idmodels.recbole_names import zoo_names
from idmodels.saved import load_id_model

SMALL = "id.recbole={embedding_size: 8, hidden_size: 8}"
NEEDS_MORE = {"FDSA", "GRU4RecF", "GRU4RecKG", "KSR", "S3Rec", "SASRecF"}


@pytest.fixture
def arguments(tiny, tmp_path, cycle):
    return [
        str(tiny.path),
        f"data.dataset={cycle}",
        f"data.cache_dir={cycle.parent / 'cache'}",
        f"output_dir={tmp_path / 'runs'}",
        "train.schedule.rounds=1",
    ]


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "run"


# NARM has states; FPMC has scores alone, and a vector per user.
@pytest.mark.parametrize("name", ["NARM", "FPMC"])
def test_it_learns_the_cycle_and_scores_alike_in_every_form(name, arguments, run):
    learn = ["train.schedule.id_length=30", "train.id.learning_rate=0.02", "arm=id_only", f"id.model=recbole:{name}"]
    assert main(["train", *arguments, *learn, SMALL if name == "NARM" else "id.recbole={embedding_size: 8}"]) == 0
    best = json.loads((run / "finished.json").read_text())["best_valid/id"]
    assert best > 0.95
    assert main(["evaluate", str(run), "--split", "valid"]) == 0
    kept = json.loads((run / "valid.json").read_text())["sides"]["id"]["metrics"]
    assert kept["ndcg@10"] == pytest.approx(best, abs=1e-6)
    assert main(["export", str(run), "--format", "recbole"]) == 0
    for form in ("safetensors", "recbole"):
        assert main(["export", str(run), "--format", form]) == 0
    model, ids = load_id_model(run / "export" / "safetensors")
    theirs = load_into_recbole(run / "export" / "recbole")
    assert type(theirs).__name__ == name
    items, lengths, users = torch.tensor([[1, 2, 3], [5, 6, 0]]), torch.tensor([3, 2]), torch.tensor([0, -1])
    batch = {"item_id_list": torch.nn.functional.pad(items, (0, 3)), "item_length": lengths, "user_id": users + 1}
    expected = theirs.full_sort_predict(batch)
    assert torch.allclose(model.scores(items, lengths, users), expected.view(2, -1), atol=1e-5)
    assert model.scores(items, lengths, users)[:, 1:].argmax(dim=1).tolist() == [3, 6]
    assert len(ids) == 13


@pytest.mark.parametrize("name", ["NARM", "GRU4Rec"])
def test_all_bridges_cross_to_a_model_with_states(name, arguments, run):
    assert main(["train", *arguments, f"id.model=recbole:{name}", SMALL, "arm=both"]) == 0
    assert main(["evaluate", str(run)]) == 0
    store, _ = load_tensors(max((run / "checkpoints").iterdir()) / "store.safetensors")
    model, _ = load_id_model(run / "best" / "id")
    assert model.item_table().shape == (13, 8)
    users = next(values for key, values in store.items() if values.shape[-1:] == (8,) and "user" in key)
    assert users.abs().sum() > 0


def test_a_model_without_states_names_the_bridges_to_switch_off_and_trains_without_them(arguments, run, capsys):
    command = ["train", *arguments, "id.model=recbole:GRU4RecCPR", SMALL]
    assert main(command) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    switches = [f"bridges.{name}.enabled=false" for name in ("store", "mformer", "distill")]
    assert " ".join(switches) in printed
    assert not run.exists()
    assert main([*command, *switches]) == 0
    assert main(["evaluate", str(run)]) == 0
    assert main(["export", str(run), "--format", "faiss"]) == 2
    assert "another way than by inner products" in capsys.readouterr().err


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tiny, tmp_path, monkeypatch):
    # BERT4Rec and FEARec draw from Python's own generator, SINE from numpy's.
    from hybrid.runs import train_run
    from hybrid.training.learner import Learner

    for name in ("BERT4Rec", "FEARec", "SINE"):
        settings = [f"id.model=recbole:{name}", "arm=id_only", "train.checkpoint_steps=1", "train.schedule.rounds=1"]
        whole = train_run(tiny(*settings, f"name=whole-{name}"))
        broken = tiny(*settings, f"name=broken-{name}")
        step = Learner.step

        def stop(self, batch, step=step):
            if self.steps == 3:
                raise KeyboardInterrupt
            return step(self, batch)

        with monkeypatch.context() as patch:
            patch.setattr(Learner, "step", stop)
            with pytest.raises(KeyboardInterrupt):
                train_run(broken)
        torch.manual_seed(99)
        again = train_run(broken, resume=True)
        first, second = (load_id_model(run.best_id)[0].state_dict() for run in (whole, again))
        assert all(torch.equal(weight, second[key]) for key, weight in first.items()), name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("id.model=recbole:NRAM", "did you mean 'NARM'?"),
        ("id.model=narm", "did you mean 'recbole:NARM'?"),
        ("id.recbole={embeding_size: 8}", "NARM has no setting 'embeding_size'; did you mean 'embedding_size'?"),
        ("id.recbole.embeding_size=8", "did you mean 'embedding_size'?"),
        ("id.recbole=8", "id.recbole: input should be a valid dictionary"),
        ("id.model=recbole:FDSA", "recbole:FDSA needs item features"),
        ("id.temperature=0.1", "leave temperature at 0"),
        ("train.id.loss.kind=bpr", "learns by RecBole's own loss"),
    ],
)
def test_what_can_not_be_is_one_line(override, message, arguments, run, capsys):
    assert main(["train", *arguments, "arm=id_only", "id.model=recbole:NARM", override]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not run.exists()


def test_own_settings_are_part_of_the_config_that_a_run_is_resumed_with(arguments, run, capsys):
    command = ["train", *arguments, "arm=id_only", "id.model=recbole:NARM", "train.schedule.id_length=1"]
    assert main([*command, SMALL]) == 0
    assert main([*command, "id.recbole={embedding_size: 8}", "--resume"]) == 2
    assert "id.recbole.hidden_size (8 -> None)" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(set(zoo_names()) - NEEDS_MORE))
def test_every_model_that_needs_no_more_data_trains_and_is_kept(name, arguments, run):
    command = ["train", *arguments, "arm=id_only", f"id.model=recbole:{name}"]
    assert main([*command, "train.schedule.unit=steps", "train.schedule.id_length=2"]) == 0
    best = json.loads((run / "finished.json").read_text())["best_valid/id"]
    assert main(["evaluate", str(run), "--split", "valid"]) == 0
    kept = json.loads((run / "valid.json").read_text())["sides"]["id"]["metrics"]
    assert kept["ndcg@10"] == pytest.approx(best, abs=1e-6)
    assert main(["export", str(run), "--format", "recbole"]) == 0
