"""Expert use by user group, with a router whose choice is known."""

import sys

import numpy as np
import pytest
import torch

from hybrid.data.prepare import prepare
from hybrid.data.split import Histories, Targets, split_training
from hybrid.evaluation.expert_use import expert_use, figure, groups, table
from hybrid.evaluation.rankers import LLMRanker
from hybrid.system import build_system
from hybrid.training.run_directory import RunDirectory
from hybrid.training.trainer import Trainer


@pytest.fixture
def make_system(tiny):
    def make(*overrides):
        config = tiny("arm=id2llm", "train.schedule.rounds=1", *overrides)
        return build_system(config, split_training(prepare(config.data), config.data))

    return make


def use_of(system):
    ranker = LLMRanker(system.recommender, system.exchange, system.prompts, system.device)
    return expert_use(ranker, system.data.valid, system.data)


def test_groups_are_thirds_by_length_and_by_popularity():
    lengths = [1, 1, 2, 2, 3, 3]
    items = np.array([1, 2, 1, 3, 1, 3, 2, 2, 2, 3, 3, 3])
    ends = np.cumsum(lengths)
    targets = Targets(np.arange(6), np.ones(6, dtype=np.int64), Histories(items, ends - lengths, ends))
    found = groups(targets, popularity=np.array([0, 100, 10, 1]))
    assert {name: np.flatnonzero(members).tolist() for name, members in found.items()} == {
        "short history": [0, 1],
        "medium history": [2, 3],
        "long history": [4, 5],
        "niche taste": [1, 4, 5],  # popularity 10, 10 and 1
        "mixed taste": [2, 3],  # (100 + 1) / 2
        "popular taste": [0],
    }


def test_shares_follow_the_router(make_system):
    system = make_system()
    with torch.no_grad():
        system.exchange.bridges["mformer"].router.linear.weight.zero_()  # equal shares: the first expert wins
    use = use_of(system)
    assert set(use) == {f"{g} history" for g in ("short", "medium", "long")} | {
        name for name in use if name.endswith("taste")
    }
    assert all(shares.tolist() == [1.0, 0.0] for shares in use.values())
    assert table(use).splitlines()[2] == "| short history | 100% | 0% |"


def test_there_is_nothing_to_show_without_an_mformer(make_system):
    assert use_of(make_system("bridges.mformer.enabled=false")) == {}


def test_the_figure_has_a_bar_for_every_group_and_expert():
    drawn = figure({"short history": np.array([0.25, 0.75]), "long history": np.array([1.0, 0.0])})
    widths = [bar.get_width() for container in drawn.axes[0].containers for bar in container]
    assert widths == [0.25, 1.0, 0.75, 0.0]


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if it were not installed
    caplog.set_level("INFO")
    for _ in range(2):
        assert figure({"short history": np.array([0.25, 0.75])}) is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("type: pip install 'hybridrec[plot]'")


def test_a_run_shows_expert_use_in_tensorboard(make_system, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    system = make_system()
    trainer = Trainer(system)
    run = RunDirectory(tmp_path / "run")
    run.create(system.config, system.data.fingerprint)
    trainer.start(run)
    trainer.train()
    events = EventAccumulator(str(run.path))
    events.Reload()
    assert "experts/users/text_summary" in events.Tags()["tensors"]
    assert "experts/users" in events.Tags()["images"]
