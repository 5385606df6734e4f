"""A dataset and a config so small that a whole joint run takes a second or two."""

import json

import pytest

from hybrid.config.load import load_config
from hybrid.training.run_directory import RunDirectory

N_ITEMS = 12
N_USERS = 20
TITLES = ["Alpha", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India", "Juliett", "Kilo", "Lima"]

TINY = """
llm:
  name: tiny-random
  dtype: float32
  whiten_width: 6
  prompt: {instruction: "Seen:", history_items: 4, targets_per_prompt: 2, item_tokens: 4}
  scorer: {width: 8}
  encode_tokens: 6
id: {max_length: 6, width: 8, inner_width: 16, layers: 1, heads: 2, dropout: 0.1, attention_dropout: 0.1}
bridges:
  mformer: {experts: 2, queries: 2, width: 8, blocks: 2, heads: 2}
  knowledge: {components: 4}
train:
  schedule: {rounds: 2, id_length: 2, llm_length: 1}
  id: {batch_targets: 32}
  llm: {batch_prompts: 8}
  log_steps: 2
  checkpoint_steps: 0
"""


def write_cycle(folder):
    """Atomic files in which every user walks round a cycle of items, each from another start."""
    folder.mkdir(parents=True)
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(N_USERS):
        for step in range(5 + user % 5):
            rows.append(f"u{user}\ti{(user + step) % N_ITEMS}\t{step}")
    (folder / f"{folder.name}.inter").write_text("\n".join(rows) + "\n", encoding="utf-8")
    items = ["item_id:token\ttitle:token_seq", *(f"i{n}\t{title}" for n, title in enumerate(TITLES))]
    (folder / f"{folder.name}.item").write_text("\n".join(items) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def cycle(tmp_path_factory):
    """Folder of the cycle dataset."""
    return write_cycle(tmp_path_factory.mktemp("data") / "cycle")


@pytest.fixture
def own_cycle(tmp_path):
    """A cycle dataset of one's own, to be changed."""
    return write_cycle(tmp_path / "cycle")


@pytest.fixture
def tiny(tmp_path, cycle):
    """Make a config for a tiny run in ``tmp_path`` from overrides."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")

    def make(*overrides):
        places = [
            f"data.dataset={cycle}",
            f"data.cache_dir={cycle.parent / 'cache'}",
            f"output_dir={tmp_path / 'runs'}",
        ]
        return load_config(path, [*places, *overrides])

    make.path = path
    return make


@pytest.fixture
def run_with():
    """A function that writes a run's records of one side's validations by hand."""

    def run_with(path, side, steps, best):
        """A run directory that knows when a side was validated, and at which step it was best."""
        run = RunDirectory(path)
        run.best_metrics(side).parent.mkdir(parents=True)
        other = {"event": "valid", "side": "id" if side == "llm" else "llm", "own_step": 99}
        events = [{"event": "valid", "side": side, "own_step": step} for step in steps]
        lines = [json.dumps(event) for event in [{"event": "agreement", "step": 7}, *events, other]]
        run.metrics.write_text("\n".join(lines) + "\n", encoding="utf-8")
        run.best_metrics(side).write_text(json.dumps({"ndcg@10": 0.1, "step": best}), encoding="utf-8")
        return run

    return run_with
