"""Everything a run is made of: data, both sides, and the exchange between them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_model

from hybrid.config.schema import Config
from hybrid.data.split import TrainingData
from hybrid.exchange import SIDES, Exchange, create_exchange
from hybrid.llm.prompt_batches import PromptBatches
from hybrid.llm.recommender import LLMRecommender
from hybrid.training.checkpoint import load_tensors, save_tensors
from hybrid.training.run_directory import read_json, write_json
from idmodels.contract import IDModel
from idmodels.registry import create_id_model
