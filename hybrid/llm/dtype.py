"""In which number format the language model computes."""

import torch


def choose_dtype(setting: str, device: torch.device) -> torch.dtype:
    """The dtype for ``llm.dtype``; ``auto`` is bfloat16 where ``device`` multiplies it natively, else float32."""
    if setting != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[setting]
    return torch.bfloat16 if computes_bfloat16(device) else torch.float32


def computes_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` has bfloat16 multiplication in hardware; emulation is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent on other processors' builds
        return any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return False
