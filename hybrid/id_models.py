"""ID models that are made anew, for a run or beside it."""

import torch

from hybrid.data.split import TrainingData
from idmodels.contract import IDModel
from idmodels.registry import create_id_model
from idmodels.settings import IDSettings


def new_id_model(settings: IDSettings, data: TrainingData, device: torch.device) -> IDModel:
    """An untrained ID model on its device that has read the train part: graph models are what they are by it.

    One that is loaded has what it read folded in, and reads nothing. Raises IDModelError for an unknown model.
    """
    model, train = create_id_model(data.n_items, settings, data.n_users).to(device), data.train
    model.read_interactions(train.items, train.starts, train.ends)
    return model
