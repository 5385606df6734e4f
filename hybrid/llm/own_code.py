"""Models that bring Python files of their own: nothing that comes with a model may run."""

import json
from pathlib import Path
from typing import Any

from hybrid.errors import UserError


def refuse_code(directory: Path) -> None:
    """Raise UserError where the model in ``directory`` works only with classes of its own (``auto_map``).

    A model that transformers knows by itself may name such classes too; transformers' own are used then.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    configs = {name: _read(directory / name) for name in ("config.json", "tokenizer_config.json")}
    if configs["config.json"].get("model_type") in CONFIG_MAPPING_NAMES:
        return
    for name, config in configs.items():
        if config.get("auto_map"):
            raise UserError(
                f"llm.name: {directory / name} asks for Python code of the model's own (auto_map), which is never run "
                "here; accepted: models whose classes are part of transformers"
            )


def _read(path: Path) -> dict[str, Any]:
    """A config as far as it can be read; what is wrong with it is said by what reads it next."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
