"""From yaml, a preset and dotted overrides to one checked `Config`.

Later sources win: defaults, the preset, the yaml file, then ``key=value`` overrides. An unknown key is an error that
names the nearest one; RecBole's own names are accepted (see `hybrid.config.recbole_keys`), and a yaml of RecBole's
names alone means what it means there.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from datetime import date
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, cast, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from hybrid.config.describe import settings
from hybrid.config.recbole_keys import RECBOLE, translate_recbole_keys
from hybrid.config.schema import Config
from hybrid.errors import UserError, nearest

Tree = dict[str, Any]
FOLDERS = ("data.cache_dir", "output_dir")
"""Settings of folders that are made; ``~`` in them is the home directory. Others are expanded where they are read."""


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The config made from an optional yaml file and overrides such as ``train.schedule.rounds=3``.

    Raises UserError for a missing or malformed file, an unknown key, or a value out of range.
    """
    tree = read_yaml(Path(path)) if path is not None else {}
    given = [parse_override(text) for text in overrides]
    tree |= {key: value for key, value in given if key == "preset"}
    preset = tree.pop("preset", None)
    merged = read_preset(str(preset)) if preset is not None else {}
    recboles = {key: value for key, value in given if key in RECBOLE}
    merge(merged, translate_recbole_keys(tree, recboles, alone=preset is None))
    for key, value in given:
        if key not in RECBOLE and key != "preset":
            merge(merged, nest(key, value))
    return build_config(merged)


def build_config(tree: Mapping[str, Any]) -> Config:
    """Check every key and value of a nested mapping and build the `Config`."""
    plain = _known_keys(Config, tree, "")
    try:
        return TypeAdapter(Config).validate_python(plain)
    except ValidationError as error:
        raise UserError("; ".join(_explain(item) for item in error.errors())) from None


def dump_config(config: Config) -> str:
    """The whole config as yaml that `load_config` reads back to an equal one."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> Tree:
    """The mapping in a yaml file; UserError with line and column where it can't be parsed."""
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.yaml")]) if path.parent.is_dir() else ""
        raise UserError(f"config file not found: {path}{near}")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid yaml: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror or error}") from None
    if tree is not None and not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys and values, got {type(tree).__name__}")
    return tree or {}


class _Loader(yaml.SafeLoader):
    """yaml's safe loader, for which a key that is there twice is an error: the first one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See yaml."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def preset_names() -> list[str]:
    """Names accepted by ``preset=``."""
    return sorted(p.name.removesuffix(".yaml") for p in files("hybrid.config").joinpath("presets").iterdir())


def read_preset(name: str) -> Tree:
    """The mapping of a preset that comes with the package, over that of the preset it names itself."""
    if name not in preset_names():
        raise UserError(f"unknown preset {name!r}{nearest(name, preset_names())}")
    text = files("hybrid.config").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    tree = cast(Tree, yaml.safe_load(text))
    base = tree.pop("preset", None)
    merged = read_preset(base) if base else {}
    merge(merged, tree)
    return merged


def parse_override(text: str) -> tuple[str, Any]:
    """``a.b=value`` as a dotted key and a yaml value; leading dashes are allowed.

    A text setting takes the value as it is, blanks and a bare ``Yes`` included, unless it is quoted.
    """
    key, equals, value = text.lstrip("-").partition("=")
    if not equals or not key:
        raise UserError(f"override {text!r} is not of the form key=value")
    if _kind_of(key) is str and not value.startswith(("'", '"')):
        return key, value
    try:
        return key, yaml.safe_load(value) if value else ""
    except yaml.YAMLError:
        raise UserError(f"override {text!r}: the value is not valid yaml") from None


def _kind_of(dotted: str) -> Any:
    """The type of a setting; None for a key that is none of ours."""
    kind: Any = Config
    for part in dotted.split("."):
        kind = get_type_hints(kind).get(part) if is_dataclass(kind) else None
    return kind


def nest(dotted: str, value: Any) -> Tree:
    """``("a.b", v)`` as ``{"a": {"b": v}}``."""
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return cast(Tree, value)


def merge(base: Tree, extra: Mapping[str, Any]) -> None:
    """Write ``extra`` over ``base``, mapping by mapping."""
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value


def _known_keys(cls: type, tree: Mapping[str, Any], prefix: str) -> Tree:
    """``tree``, its keys checked against the fields of ``cls``; numbers given for text become text, ``a,b`` a list."""
    kinds = get_type_hints(cls)
    names = [f.name for f in fields(cls)]
    plain: Tree = {}
    for key, value in tree.items():
        if key not in names:
            raise UserError(f"unknown key '{prefix}{key}'{_nearest_key(f'{prefix}{key}', names)}")
        kind = kinds[key]
        if is_dataclass(kind):
            if value is None:  # a section whose keys are all commented out
                continue
            if not isinstance(value, Mapping):
                raise UserError(f"{prefix}{key}: expected keys such as {fields(kind)[0].name}, got {value!r}")
            value = _known_keys(cast(type, kind), value, f"{prefix}{key}.")
        elif kind is str and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        elif kind == tuple[str, ...] and isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        plain[key] = os.path.expanduser(value) if f"{prefix}{key}" in FOLDERS and isinstance(value, str) else value
    return plain


def _nearest_key(key: str, names: list[str]) -> str:
    """The nearest full key, of ours or of RecBole's; where none is near, the names accepted at this place."""
    close = get_close_matches(key, [*(item.key for item in settings()), *sorted(RECBOLE)], n=1, cutoff=0.7)
    return f"; did you mean '{close[0]}'?" if close else nearest(key.rpartition(".")[2], names)


def _explain(item: Mapping[str, Any]) -> str:
    """One pydantic error as ``key: what is accepted, got value``."""
    key = ".".join(str(part) for part in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    got = "" if isinstance(item["input"], Mapping) else f", got {item['input']!r}"
    place = f"{key}: " if key else ""
    quotes = "; put it in quotes" if item["type"] == "string_type" and isinstance(item["input"], bool | date) else ""
    return f"{place}{message[0].lower()}{message[1:]}{got}{quotes}"


def _plain(value: Any) -> Any:
    """Tuples as lists, so that yaml needs no tags."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
