"""Devices by name."""

import pytest
import torch

from hybrid.errors import UserError
from hybrid.system import choose_device


@pytest.mark.parametrize("name", ["mps", "meta", "xpu:0", "tpu", "", "cuda:", "cuda:x", "cuda:300", "cpu cuda"])
def test_other_devices_are_refused_with_what_is_accepted(name):
    with pytest.raises(UserError, match=r"^device: .* is not supported; accepted: auto, cpu, cuda, cuda:N$"):
        choose_device(name)


def test_cuda_is_taken_where_it_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="cuda:2 is not there; 2 CUDA devices are"):
        choose_device("cuda:2")
