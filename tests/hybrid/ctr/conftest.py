"""Datasets with ratings that follow a rule, and a config so small that a whole run of task ctr takes seconds."""

import numpy as np
import pytest

from hybrid.config.load import load_config

N_USERS, N_ITEMS, LENGTH = 24, 20, 16

TINY = """
task: ctr
llm:
  name: tiny-random
  dtype: float32
  lora: {rank: 4, dropout: 0.0}
  encode_tokens: 6
  click_prompt: {opening: "Seen:", offer: "\\n?", question: "\\nA:", positive: " Yes", negative: " No",
                 liked: "+", disliked: "-", nothing: " 0", behaviours: 3, item_tokens: 4}
id: {model: din}
click: {width: 8, max_length: 12, attention_widths: [8], hidden_widths: [16]}
bridges:
  knowledge: {components: 4}
train:
  schedule: {rounds: 2, id_length: 2, llm_length: 1}
  id: {batch_targets: 32, learning_rate: 0.01}
  llm: {batch_prompts: 16, samples: 64, learning_rate: 0.01}
  log_steps: 2
  checkpoint_steps: 0
data: {min_history: 2}
evaluation: {bootstrap: 50, llm_batch_prompts: 16}
"""


RULES = {
    "tastes": lambda user, item: (user + item) % 2 == 0,  # even users like the items A.., odd ones the items B..
    "quality": lambda user, item: item % 2 == 0,  # everybody likes the items A..
    "moods": lambda user, item: user % 2 == 0,  # even users like everything, odd ones nothing
}


def write_ratings(folder):
    """Atomic files in which 5 and 1 stars follow the rule of the folder's name."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(N_USERS):
        for step, item in enumerate(random.permutation(N_ITEMS)[:LENGTH]):
            rows.append(f"u{user}\ti{item}\t{5 if RULES[folder.name](user, item) else 1}\t{step * 100 + user}")
    (folder / f"{folder.name}.inter").write_text("\n".join(rows) + "\n", encoding="utf-8")
    titles = [f"i{item}\t{'AB'[item % 2]}{item}\t{'AB'[item % 2]}" for item in range(N_ITEMS)]
    (folder / f"{folder.name}.item").write_text(
        "\n".join(["item_id:token\ttitle:token_seq\tshelf:token", *titles]) + "\n"
    )
    return folder


LATE_ITEMS = ("i20", "i21")
"""The first is had in the valid part first, the second in the test part only."""
LATE_ROWS = {
    "never": [("i20", 1405), ("i1", 1406), ("i2", 1407), ("i21", 1700)],  # no train row
    "once": [("i3", 5), ("i20", 1415), ("i4", 1416), ("i21", 1710)],  # one train row
}


def write_late(folder, source):
    """The dataset of ``source`` with items and users that come up after the train part."""
    folder.mkdir(parents=True)
    rows = [f"{user}\t{item}\t5\t{time}" for user, had in LATE_ROWS.items() for item, time in had]
    titles = [f"{item}\tC{item[1:]}\tC" for item in LATE_ITEMS]
    for suffix, lines in {"inter": rows, "item": titles}.items():
        text = (source / f"{source.name}.{suffix}").read_text(encoding="utf-8")
        (folder / f"{folder.name}.{suffix}").write_text(text + "\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folder of a dataset for each rule, and of ``late``: tastes with items and users from after the train part."""
    found = {rule: write_ratings(tmp_path_factory.mktemp("data") / rule) for rule in RULES}
    return found | {"late": write_late(tmp_path_factory.mktemp("data") / "late", found["tastes"])}


@pytest.fixture
def tiny(tmp_path, folders):
    """Make a config for a tiny run in ``tmp_path`` from a rule and overrides."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")

    def make(*overrides, rule="tastes"):
        places = [
            f"data.dataset={folders[rule]}",
            f"data.cache_dir={folders['tastes'].parent / 'cache'}",
            f"output_dir={tmp_path / 'runs'}",
        ]
        return load_config(path, [*places, *overrides])

    make.path = path
    return make
