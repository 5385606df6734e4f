"""Every ID model and every click model takes a training step with bfloat16 products, near to the one in float32."""

import numpy as np
import pytest
import torch

from idmodels.batches import IDBatches
from idmodels.click import ClickBatch
from idmodels.click_registry import click_model_names, create_click_model
from idmodels.click_settings import ClickSettings
from idmodels.precision import multiplies_in
from idmodels.registry import create_id_model, id_model_names
from idmodels.settings import IDSettings

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", id_model_names())
def test_gradients_with_bfloat16_products_are_those_of_float32_but_for_rounding(name):
    items = np.random.default_rng(0).integers(1, 20, 60).astype(np.int32)
    ends = np.arange(10, 61, 10)
    torch.manual_seed(0)
    settings = IDSettings(
        model=name, width=16, inner_width=16, max_length=10, dropout=0.0, attention_dropout=0.0, mask_ratio=0.3
    )
    model = create_id_model(20, settings)
    model.read_interactions(items, ends - 10, ends)
    batch = next(iter(IDBatches(items, ends - 10, ends, 10, 200, seed=0).epoch(0)))
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(1)
        model.zero_grad()
        with multiplies_in(dtype, CPU):
            table = model.item_table()
            scored = model.training_states(batch, table)
            loss = torch.nn.functional.cross_entropy(scored.states.float() @ table.float().T, scored.targets)
        loss.backward()
        gradients.append(model.item_embedding.weight.grad.clone())
    assert (gradients[0] - gradients[1]).norm() < 0.1 * gradients[0].norm()


@pytest.mark.parametrize("name", [*click_model_names(), "sasrec", "recbole:DeepFM", "recbole:STAMP"])
def test_a_click_models_gradients_too(name):
    torch.manual_seed(0)
    settings = ClickSettings(model=name, width=16, max_length=10, attention_widths=(16,), hidden_widths=(32,))
    shape = IDSettings(width=16, inner_width=16, max_length=10, dropout=0.0, attention_dropout=0.0)
    model = create_click_model(20, settings, 4, sequence=shape)
    drawn = torch.randint(1, 20, (64, 11))
    marks, labels = torch.randint(1, 3, (64, 10)), torch.randint(0, 2, (64,))
    batch = ClickBatch(drawn[:, 0] % 4, drawn[:, 1:], marks, torch.full((64,), 10), drawn[:, 0], labels)
    losses, gradients = [], []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(1)  # dropout
        model.zero_grad()
        with multiplies_in(dtype, CPU):
            loss = model.loss(batch)
        loss.backward()
        assert loss.dtype == torch.float32
        losses.append(loss.item())
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], abs=0.01)
    assert (gradients[0] - gradients[1]).norm() < 0.1 * gradients[0].norm()
