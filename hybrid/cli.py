"""The command line: ``hybridrec prepare | train | compare | curve | evaluate | export | recommend``.

Exit codes: 0 done, 2 something the user can put right (one line says what), 130 stopped by the user.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

from hybrid import __version__
from hybrid.config.describe import settings
from hybrid.config.load import load_config, preset_names
from hybrid.config.schema import Arm, Config
from hybrid.errors import UserError, nearest
from hybrid.logs import log_to_screen

DESCRIPTION = "Two recommenders that make each other better."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    from bridges.errors import BridgeError
    from idmodels.errors import IDModelError

    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if any("=" not in part for part in rest) or (rest and not hasattr(options, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse takes no positional arguments after an option such as --resume
        options.overrides = [*options.overrides, *rest]
    log_to_screen()
    try:
        options.run(options)
    except (UserError, IDModelError, BridgeError) as error:
        print(f"hybridrec: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"hybridrec: {error.filename}: {reason}" if error.filename else f"hybridrec: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hybridrec: stopped; a run goes on with --resume", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="hybridrec", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"hybridrec {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _prepare_command(commands)
    _train_command(commands)
    _compare_command(commands)
    _curve_command(commands)
    _evaluate_command(commands)
    _export_command(commands)
    _recommend_command(commands)
    return parser


def settings_help(prefix: str = "") -> str:
    """Every setting whose key begins with ``prefix``: kind, default and meaning."""
    lines = ["settings (KEY=VALUE, after a yaml file or without one):"]
    for item in settings():
        if item.key.startswith(prefix):
            default = "" if item.default in ("", (), {}) else f", default {item.default}"
            lines += [f"  {item.key}  ({item.kind}{default})", f"      {item.help}"]
    return "\n".join(lines)


def _add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, about: str, epilog: str = "") -> argparse.ArgumentParser:  # fmt: skip # noqa: E501
    raw = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(
        name, help=about, description=about, epilog=epilog, formatter_class=raw, allow_abbrev=False
    )


def _prepare_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _add(commands, "prepare", "validate and compact a dataset, print its statistics", settings_help("data."))
    command.add_argument("dataset", help="known name, folder of atomic files, or a .inter, .csv or .parquet file")
    _overrides_argument(command, "data.user_core=5")
    command.set_defaults(run=_prepare)


def _train_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _add(commands, "train", "train the sides of one arm in turns", _run_help())
    _config_arguments(command)
    command.add_argument(
        "--resume", action="store_true", help="go on from the run's newest checkpoint; without one, begin"
    )
    command.set_defaults(run=_train)


def _compare_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _add(commands, "compare", "train several arms and print what each side gained", _run_help())
    _config_arguments(command)
    command.add_argument(
        "--arms",
        default="id_only,llm_only,both",
        help=f"comma-separated, of {', '.join(get_args(Arm))} (default: %(default)s)",
    )
    command.add_argument("--seeds", default="", help="comma-separated, such as 1,2,3 (default: the config's seed)")
    command.add_argument("--ablate", action="store_true", help="each bridge that is on alone, and each left out")
    command.add_argument(
        "--controls", default="", help="all, or comma-separated: item_text, id_states, id_items, projector, "
        "llm_weights, self_teacher, peer_teacher, sentence_encoder, bag_of_words, one_view, static_text, "
        "shuffled_history",
    )  # fmt: skip
    command.add_argument("--extra-seeds", default="", help="seeds of ablations and controls (default: --seeds)")
    command.add_argument("--no-blend", action="store_true", help="leave out the blend of both sides")
    command.set_defaults(run=_compare)


def _curve_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "train the click side on growing shares of the samples and draw the sample-efficiency curve"
    command = _add(commands, "curve", about, _run_help())
    _config_arguments(command)
    command.add_argument(
        "--arms", default="id_only,llm2id", help="comma-separated, the plain id_only first (default: %(default)s)"
    )
    command.add_argument(
        "--fractions",
        default="0.01,0.05,0.1,0.2,0.5,1",
        help="shares of the training samples, each part of the larger ones (default: %(default)s)",
    )
    command.add_argument("--seeds", default="1,2,3", help="seeds of every point (default: %(default)s)")
    command.set_defaults(run=_curve)


def _evaluate_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _add(commands, "evaluate", "measure the best models of a finished run: rankings or clicks, by its task")
    command.add_argument("directory", type=Path, metavar="RUN", help="run directory")
    command.add_argument("--split", choices=["valid", "test"], default="test", help="part of the data (default: test)")
    command.add_argument(
        "--shuffle-histories", action="store_true", help="read each history in an order drawn by the run's seed"
    )
    command.set_defaults(run=_evaluate)


def _export_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _add(commands, "export", "write a run's improved ID model in a form that runs alone")
    command.add_argument("directory", type=Path, metavar="RUN", help="run directory")
    command.add_argument(
        "--format", choices=["safetensors", "recbole", "faiss"], default="safetensors", help="form of the model"
    )
    command.add_argument("--out", type=Path, help="target directory (default: RUN/export/FORMAT)")
    command.set_defaults(run=_export)


def _recommend_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _add(commands, "recommend", "the best items for a user, or after any history")
    command.add_argument("directory", type=Path, metavar="RUN", help="run directory")
    whom = command.add_mutually_exclusive_group(required=True)
    whom.add_argument("--user", metavar="ID", help="a user of the data")
    whom.add_argument("--history", metavar="ID,ID,...", help="items of the data, oldest first")
    command.add_argument("--side", choices=["id", "llm", "both"], default="both", help="whose list (default: both)")
    command.add_argument("--top", type=int, default=10, help="items in a list (default: 10)")
    command.set_defaults(run=_recommend)


def _run_help() -> str:
    return f"presets (preset=NAME): {', '.join(preset_names())}\n\n{settings_help()}"


def _config_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", nargs="?", help="yaml file; may be left out")
    _overrides_argument(command, "train.schedule.rounds=3")


def _overrides_argument(command: argparse.ArgumentParser, example: str) -> None:
    # Without a default argparse calls an argument of any number, none included, a required one.
    command.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE", help=f"such as {example}")


def _config(options: argparse.Namespace) -> Config:
    """The config of `train` and `compare`; a first argument with ``=`` is an override, not a file."""
    from hybrid.training.run_directory import places_of_run

    overrides = list(options.overrides)
    path = options.config
    if path is not None and "=" in path:
        overrides, path = [path, *overrides], None
    if path is not None:
        overrides = [*places_of_run(Path(path), getattr(options, "resume", False)), *overrides]
    return load_config(path, overrides)


def _prepare(options: argparse.Namespace) -> None:
    from hybrid.data.prepare import prepare, statistics_table

    config = load_config(None, [*options.overrides, f"data.dataset={options.dataset}"])
    print(statistics_table(prepare(config.data)))


def _train(options: argparse.Namespace) -> None:
    from hybrid.runs import train_run

    run = train_run(_config(options), options.resume)
    print(f"run directory: {run.path}\nTensorBoard:   tensorboard --logdir {run.path}")


def _compare(options: argparse.Namespace) -> None:
    from hybrid.comparison.compare import compare, write_comparison
    from hybrid.comparison.plan import make_plan
    from hybrid.evaluation.curve import parse_seeds

    config, arms = _config(options), _arms(options)
    seeds = parse_seeds(options.seeds) if options.seeds else (config.seed,)
    extra = parse_seeds(options.extra_seeds) if options.extra_seeds else ()
    controls = _names(options.controls)
    plan = make_plan(config, arms, seeds, options.ablate, controls, extra)
    found, runs = compare(config, plan, blend=not options.no_blend)
    print(found.text())
    folder = Path(config.output_dir) / config.name
    print(f"\nwritten: {', '.join(map(str, write_comparison(found, folder)))}")
    print(f"run directories: {', '.join(str(run.path) for run in runs)}")
    print(f"TensorBoard:     tensorboard --logdir {folder}")


def _arms(options: argparse.Namespace) -> list[Arm]:
    """Those of ``--arms``; an ``arm=`` beside them would have no say."""
    arms = _names(options.arms)
    for arm in arms:
        if arm not in get_args(Arm):
            raise UserError(f"--arms: unknown arm {arm!r}{nearest(arm, get_args(Arm))}")
    if len(set(arms)) < len(arms):
        raise UserError(f"--arms: {options.arms} names an arm twice")
    for given in (options.config or "", *options.overrides):
        if given.lstrip("-").startswith("arm="):
            raise UserError(f"{given} has no say here: the arms are those of --arms {','.join(arms)}")
    return cast(list[Arm], arms)


def _names(text: str) -> list[str]:
    """``a, b`` as names."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _curve(options: argparse.Namespace) -> None:
    from hybrid.curve_runs import draw_curve, write_curve
    from hybrid.evaluation.curve import curve_table, parse_fractions, parse_seeds

    arms, fractions, seeds = _arms(options), parse_fractions(options.fractions), parse_seeds(options.seeds)
    config = _config(options)
    curve = draw_curve(config, arms, fractions, seeds)
    print(curve_table(curve))
    written = write_curve(curve, Path(config.output_dir) / config.name)
    print(f"\nwritten: {', '.join(map(str, written))}")
    if len(written) < 3:
        print("no plot: matplotlib is not installed; type: pip install 'hybridrec[plot]'")


def _evaluate(options: argparse.Namespace) -> None:
    from hybrid.evaluation.evaluate import evaluate_run
    from hybrid.evaluation.groups import group_table
    from hybrid.evaluation.protocol import describe

    results = evaluate_run(options.directory, options.split, shuffle_histories=options.shuffle_histories)
    print(f"{options.split}: {describe(results)}")
    for side, found in results["sides"].items():
        values = ", ".join(f"{name} {value:.4f}{_interval(found, name)}" for name, value in found["metrics"].items())
        unit = "user" if "users" in results else "sample"
        print(f"{side}: {values}; {found['parameters']:,} parameters, {found['cost_ms']:.2f} ms/{unit}")
    groups = {side: found["groups"] for side, found in results["sides"].items() if "groups" in found}
    if groups:
        print(f"\n{group_table(groups)}")


def _interval(found: dict[str, Any], name: str) -> str:
    """95 % bootstrap interval of a metric, where there is one."""
    bounds = found.get("intervals", {}).get(name)
    return f" [{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""


def _recommend(options: argparse.Namespace) -> None:
    from hybrid.recommend import recommend_run

    if options.top < 1:
        raise UserError(f"--top: {options.top} items are no list; accepted: 1 and more")
    history = None if options.history is None else _names(options.history)
    if history == []:
        raise UserError("--history names no item; such as --history 50,181")
    for side, items in recommend_run(options.directory, options.user, history, options.side, options.top).items():
        print(f"{side}:")
        for place, item in enumerate(items, start=1):
            print(f"{place:4}. {item.text or '(no text)'}  [{item.item_id}]  {item.score:.4f}")


def _export(options: argparse.Namespace) -> None:
    from hybrid.export.run import export_run

    target = export_run(options.directory, options.format, options.out)
    print(f"exported ID model ({options.format}): {target}")


if __name__ == "__main__":
    sys.exit(main())
