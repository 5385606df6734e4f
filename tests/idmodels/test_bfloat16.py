"""Every ID model takes a training step with bfloat16 products, near to the one in float32."""

import numpy as np
import pytest
import torch

from idmodels.batches import IDBatches
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
