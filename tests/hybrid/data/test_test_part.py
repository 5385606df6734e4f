"""Nothing that trains can import the test part, not even by way of another module."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOOR = "hybrid.evaluation.test_part"
TRAINING_SIDE = (
    "hybrid.training",
    "hybrid.llm",
    "hybrid.data",
    "hybrid.ctr",
    "hybrid.instruct",
    "hybrid.config",
    "bridges",
    "idmodels",
)


def modules(root):
    """Dotted name -> file of every module under `root`."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def project():
    names = ("hybrid", "bridges", "idmodels")
    return {name: path for name, path in modules(ROOT).items() if name.split(".")[0] in names}


def imported(name, path):
    """Every dotted name that a module's imports may load, those inside functions and those by string included."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and node.value == DOOR:
            yield DOOR


def reachable(start, known):
    """Modules loaded when those in `start` are imported and all of their functions run."""
    reached, waiting = set(), list(start)
    while waiting:
        name = waiting.pop()
        if name in reached or name not in known:
            continue
        reached.add(name)
        waiting.extend(imported(name, known[name]))
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    return reached


def test_training_cannot_reach_the_test_part():
    known = project()
    start = [name for name in known if name.startswith(tuple(f"{package}." for package in TRAINING_SIDE))]
    assert {"hybrid.data.split", "bridges.protocols", "idmodels.contract"} <= set(start)
    assert DOOR in known
    assert DOOR not in reachable(start, known)


def test_the_search_finds_hidden_ways(tmp_path):
    for text in (
        f"import {DOOR}",
        f"from {DOOR} import open_test",
        "from hybrid.evaluation import test_part",
        "def f():\n    from ..evaluation import test_part",
        f"import importlib\nimportlib.import_module({DOOR!r})",
    ):
        for name in ("hybrid/__init__", "hybrid/evaluation/__init__", "hybrid/evaluation/test_part"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"{name}.py").write_text("")
        (tmp_path / "hybrid/training").mkdir(exist_ok=True)
        (tmp_path / "hybrid/training/between.py").write_text(text)
        (tmp_path / "hybrid/training/trainer.py").write_text("import hybrid.training.between")
        assert DOOR in reachable(["hybrid.training.trainer"], modules(tmp_path)), text
