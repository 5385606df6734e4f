"""RecBole's own data, built quietly and without a trace in the working directory."""

import logging
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from idmodels.recbole_compat import recbole_config

LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
FIXED = {"loss_type": "CE", "train_neg_sample_args": None, "eval_args": LEAVE_ONE_OUT}


@pytest.fixture
def recbole_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """RecBole's sequential dataset with its train, valid and test part: ``recbole_parts(dataset, key=value, ...)``."""

    def build(dataset: str, **overrides: Any) -> SimpleNamespace:
        config = recbole_config("SASRec", dataset, FIXED | {"checkpoint_dir": str(tmp_path / "saved")} | overrides)
        from recbole.data import create_dataset

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its pandas calls are of 2023
            whole = create_dataset(config)
            train, valid, test = whole.build()
        return SimpleNamespace(config=config, dataset=whole, train=train, valid=valid, test=test)

    monkeypatch.chdir(tmp_path)
    logging.disable(logging.WARNING)
    yield build
    logging.disable(logging.NOTSET)
