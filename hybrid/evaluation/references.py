"""ID models on the very candidates that a language model ranks by title likelihood.

Letters: M users, B of them at a time, L history length, N items (row 0 is padding).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hybrid.data.split import Targets, TrainingData
from hybrid.errors import UserError
from hybrid.instruct.ranking import Question
from hybrid.modes import inference
from hybrid.sources import load_best
from idmodels.batches import padded_histories
from idmodels.contract import IDModel

KEY = "instruct.references"


def load_references(names: Sequence[str], data: TrainingData) -> dict[str, IDModel]:
    """Trained ID models by the folder they are in (a run, or an exported model).

    Raises UserError for a folder that is not there, and for a model of another item map.
    """
    found = {}
    for name in names:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UserError(f"{KEY}: no such folder: {name}")
        found[name] = load_best(folder, data, KEY).eval()
    return found


def reference_ranks(model: IDModel, targets: Targets, questions: Sequence[Question], batch_users: int) -> Tensor:
    """Rank of each target among the items listed, from 1, [M]; ties go against it, and one not listed is last.

    The catalogue is scored for ``batch_users`` targets at a time, so memory does not grow with M.
    """
    histories, ranks = targets.histories, list[int]()
    for first in range(0, len(targets), batch_users):
        part = slice(first, first + batch_users)
        items, lengths = padded_histories(
            histories.items, histories.starts[part], histories.ends[part], model.settings.max_length
        )
        with inference(model):
            scores = model.scores(items, lengths, torch.from_numpy(targets.users[part]))  # [B, N]
        ranks += [_rank(row, question) for row, question in zip(scores, questions[part], strict=True)]
    return torch.tensor(ranks)


def _rank(scores: Tensor, question: Question) -> int:
    return question.rank(lambda: scores[question.listed])
