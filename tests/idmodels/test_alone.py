"""The package where nothing of a language model is installed: imported, trained, saved and loaded in a new process."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys

BLOCKED = {"transformers", "peft", "accelerate", "tokenizers", "huggingface_hub", "faiss", "hybrid", "bridges"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import idmodels
import numpy as np
from idmodels.batches import IDBatches
from idmodels.recommending import recommend
from idmodels.registry import create_id_model
from idmodels.saved import load_id_model, save_id_model
from idmodels.settings import IDSettings
from idmodels.training import fit

items = np.tile(np.arange(1, 6), 8)
ends = np.array([20, 40])
for name in ["sasrec", "bert4rec", "recbole:NARM"]:
    # Dropout of a half empties whole rows of width 8, and LayerNorm of nothing has gradients without bound.
    settings = IDSettings(name, width=8, max_length=5, inner_width=8, dropout=0.0, attention_dropout=0.0)
    model = create_id_model(6, settings)
    fit(model, IDBatches(items, ends - 20, ends, 5, 20, seed=0), epochs=1)
    save_id_model(model, f"{sys.argv[1]}/{name}", None)
    loaded, _ = load_id_model(f"{sys.argv[1]}/{name}")
    assert recommend(loaded, [[1, 2]], k=3).items.shape == (1, 3), name
assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
print("done")
"""


def test_it_works_without_what_a_language_model_needs(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("done")
