"""Models that bring Python files of their own: refused, since nothing that comes with a model may run."""

import json
from pathlib import Path

from hybrid.errors import UserError

CONFIGS = ("config.json", "tokenizer_config.json")


def refuse_code(directory: Path) -> None:
    """Raise UserError where a config in ``directory`` names classes of the model's own (``auto_map``)."""
    for path in (directory / name for name in CONFIGS):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # absent or broken: said by what reads it next
        if isinstance(config, dict) and config.get("auto_map"):
            raise UserError(
                f"llm.name: {path} asks for Python code of the model's own (auto_map), which is never run here; "
                "accepted: models whose classes are part of transformers"
            )
