"""Names of RecBole's sequential and context-aware models, read from its source: nothing of it is imported."""

import ast
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

import yaml

from idmodels.errors import IDModelError
from idmodels.recbole_compat import INSTALL

PREFIX = "recbole:"


def zoo_names() -> tuple[str, ...]:
    """Sequential models, sorted; raises IDModelError with the install command where RecBole is absent."""
    return _names("sequential_recommender")


def context_names() -> tuple[str, ...]:
    """Context-aware models, sorted; raises IDModelError as `zoo_names` does."""
    return _names("context_aware_recommender")


def _names(folder: str) -> tuple[str, ...]:
    source = _recbole_folder() / "model" / folder / "__init__.py"
    imports = [node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    return tuple(sorted(alias.name for node in imports for alias in node.names))


def zoo_name(name: str) -> str:
    """RecBole's spelling of ``recbole:narm``, ``NARM`` and the like; raises IDModelError with the nearest name."""
    names = {known.lower(): known for known in zoo_names()}
    wanted = name.lower().removeprefix(PREFIX)
    if wanted not in names:
        close = get_close_matches(wanted, names, n=1)
        hint = f"did you mean {names[close[0]]!r}?" if close else f"accepted: {', '.join(names.values())}"
        raise IDModelError(f"RecBole has no sequential model {name!r}; {hint}")
    return names[wanted]


def model_keys(name: str) -> tuple[str, ...]:
    """The settings that RecBole lists in its file of the model ``name``, in RecBole's spelling."""
    listed = yaml.safe_load((_recbole_folder() / "properties" / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    return tuple(listed or ())


def _recbole_folder() -> Path:
    spec = find_spec("recbole")
    if spec is None or spec.origin is None:
        raise IDModelError(f"this needs RecBole, which is not installed: {INSTALL}")
    return Path(spec.origin).parent
