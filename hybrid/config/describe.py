"""The help text of every setting, read from the docstrings under their fields."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from hybrid.config.schema import Config


@dataclass(frozen=True)
class Setting:
    """One setting: dotted key, accepted kind, default and help."""

    key: str
    kind: str
    default: Any
    help: str


def settings(cls: type = Config, prefix: str = "") -> Iterator[Setting]:
    """Every setting below ``cls``, depth first, in the order of declaration."""
    kinds, texts = get_type_hints(cls), field_docs(cls)
    for item in fields(cls):
        kind = kinds[item.name]
        if is_dataclass(kind):
            yield from settings(cast(type, kind), f"{prefix}{item.name}.")
        else:
            default = item.default_factory() if item.default_factory is not MISSING else item.default
            what = f"{_first_paragraph(cls)} " if item.name == "enabled" else ""
            yield Setting(f"{prefix}{item.name}", _kind(kind), default, what + texts.get(item.name, ""))


@cache
def field_docs(cls: type) -> dict[str, str]:
    """Field name -> the string literal under it, for ``cls`` and the dataclasses it extends."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base):
            docs |= _own_docs(base)
    return docs


def reference() -> str:
    """All settings as a markdown page."""
    lines = [
        "# Settings",
        "",
        "Made from `hybrid/config/` by `python -m hybrid.config.describe`.",
        "",
    ]
    lines += ["| key | accepted | default | meaning |", "|---|---|---|---|"]
    for item in settings():
        default = "" if item.default in ("", (), {}) else f"`{_shown(item.default)}`"
        lines.append(f"| `{item.key}` | {item.kind.replace('|', 'or')} | {default} | {item.help} |")
    return "\n".join(lines) + "\n"


def _shown(default: object) -> str:
    text = ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return text.replace("\n", "\\n")  # a line end would end the row


def _first_paragraph(cls: type) -> str:
    """What a switch switches."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())


def _own_docs(cls: type) -> dict[str, str]:
    body = cast(ast.ClassDef, ast.parse(inspect.getsource(cls)).body[0]).body
    docs = {}
    for statement, after in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
            value = after.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docs[cast(ast.Name, statement.target).id] = " ".join(value.value.split())
    return docs


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " | ".join(str(value) for value in get_args(kind))
    if kind == tuple[str, ...]:
        return "list of names"
    if get_origin(kind) is dict:
        return "keys and values"
    return getattr(kind, "__name__", str(kind)) if not get_args(kind) else str(kind).replace("typing.", "")


if __name__ == "__main__":
    print(reference(), end="")
