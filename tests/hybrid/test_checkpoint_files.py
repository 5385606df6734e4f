"""What is saved comes back, also on a machine with fewer devices."""

import torch

from hybrid import checkpoint_files
from hybrid.checkpoint_files import load_optimizers, load_rng, save_optimizers, save_rng


def test_generators_are_set_of_devices_that_are_there(tmp_path, monkeypatch):
    states = [torch.zeros(16, dtype=torch.uint8), torch.ones(16, dtype=torch.uint8)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    save_rng(tmp_path / "rng.safetensors")
    own = torch.get_rng_state()
    torch.rand(1)
    found = {}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, name: found.update({name: state.tolist()}))
    load_rng(tmp_path / "rng.safetensors")
    assert found == {"cuda:0": states[0].tolist()}
    assert torch.equal(torch.get_rng_state(), own)


def test_optimizer_states_are_read_to_the_cpu(tmp_path, monkeypatch):
    save_optimizers(tmp_path / "optimizers.pt", {"id": {"state": {0: {"step": torch.tensor(2.0)}}}})
    asked, load = {}, torch.load
    monkeypatch.setattr(checkpoint_files.torch, "load", lambda *a, **kw: asked.update(kw) or load(*a, **kw))
    states = load_optimizers(tmp_path / "optimizers.pt")
    assert states["id"]["state"][0]["step"].item() == 2.0
    assert asked == {"map_location": "cpu", "weights_only": True}
