"""What is drawn beside a run leaves the run's generators alone, also those of GPUs."""

import pytest
import torch

from hybrid.generators import forked_generators
from hybrid.llm.backbone import draw_model
from hybrid.llm.tiny import tiny_config, tiny_model

OTHER, GPU = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture
def seeds(monkeypatch):
    """Two GPUs in the place of CUDA: the seed that the generator of each stands at, by device."""
    found = {OTHER: 5, GPU: 7}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: found[device])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: found.update({device: state}))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: found.update(dict.fromkeys(found, seed)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("all devices were asked for"))
    return found


def drawn_from(seed):
    return torch.rand(2, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", [None, 3])
def test_the_cpus_and_the_devices_generator_go_on_as_before(seeds, seed):
    torch.manual_seed(11)
    seeds[GPU] = 7
    with forked_generators(seed, GPU):
        assert seeds[GPU] == (7 if seed is None else 3)
        assert torch.equal(torch.rand(2), drawn_from(11 if seed is None else 3))
        torch.manual_seed(4)
    assert seeds[GPU] == 7
    assert torch.equal(torch.rand(2), drawn_from(11))


def test_random_language_models_are_drawn_without_any_gpu(seeds):
    from transformers import AutoModel

    torch.manual_seed(11)
    seeds.update({OTHER: 5, GPU: 7})
    tiny = tiny_model(1, seed=3)
    drawn = draw_model(AutoModel, tiny_config(1), torch.float32, seed=3)
    assert torch.equal(tiny.get_input_embeddings().weight, drawn.get_input_embeddings().weight)
    assert seeds == {OTHER: 5, GPU: 7}
    assert torch.equal(torch.rand(2), drawn_from(11))
