"""In which number format a model multiplies.

With bfloat16 the products are made in it, and sums, norms, weights and optimiser stay in float32 (autocast). Where a
processor has it in hardware, the products of an ID model take a third to a sixth of the time.
"""

import torch


def choose_dtype(setting: str, device: torch.device) -> torch.dtype:
    """The dtype of a setting ``auto | float32 | bfloat16``; auto: bfloat16 where ``device`` has it, else float32."""
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


def multiplies_in(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Context in which products are made in ``dtype``; float32: as they come, also inside of another such context."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
