"""Many runs on nested shares of the training samples, which make one sample-efficiency curve."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from hybrid.config.schema import Arm, Config, Side
from hybrid.data.clicks import Samples, draw_both_classes, split_clicks
from hybrid.data.prepare import prepare
from hybrid.errors import UserError
from hybrid.evaluation.clicks import label_source
from hybrid.evaluation.curve import Curve, Point, curve_csv, curve_table, plot_curve
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.exchange import judged_sides
from hybrid.runs import LABELS, check_runs, finished_run, log
from hybrid.training.run_directory import write_text


def draw_curve(config: Config, arms: Sequence[Arm], fractions: Sequence[float], seeds: Sequence[int]) -> Curve:
    """Train and evaluate on test every arm with every share and seed that is not finished yet.

    Of each arm that side counts which it improves: the language model of `llm_only` and `id2llm`, else the click model.
    Raises UserError for another task than ctr, a share of no sample, or an arm whose side is not judged.
    """
    check_curve(config, arms)
    dataset = prepare(config.data, log=log.info)
    every = _shares_and_seeds(fractions, seeds, split_clicks(dataset, config.data).train)
    check_runs([[share_of(config, arm, *share, seed) for share, seed in every] for arm in arms], dataset)
    points = []
    for arm, ((fraction, samples), seed) in product(arms, every):
        side = judged_side(arm)
        run = finished_run(share_of(config, arm, fraction, samples, seed), dataset.fingerprint)
        found = evaluate_run(run.path, "test")["sides"][side]["metrics"][config.evaluation.ctr_metric]
        points.append(Point(LABELS[arm, side], fraction, seed, samples, found))
    return Curve(
        config.evaluation.ctr_metric.upper(), LABELS["id_only", "id"], tuple(points), label_source(config.data)
    )


def _shares_and_seeds(
    fractions: Sequence[float], seeds: Sequence[int], samples: Samples
) -> list[tuple[tuple[float, int], int]]:
    """((share, its samples), seed) of all points. Raises UserError where a draw is of no sample, or of one class."""
    shares = {fraction: round(fraction * len(samples)) for fraction in fractions}
    for fraction, count in shares.items():
        if count < 1:
            raise UserError(f"--fractions: a share of {fraction:g} of {len(samples)} samples is none")
    every = list(product(shares.items(), seeds))
    for (fraction, count), seed in every:
        draw_both_classes(samples, f"--fractions {fraction:g} with seed {seed}", count, seed)
    return every


def check_curve(config: Config, arms: Sequence[Arm]) -> None:
    """Raise UserError where no curve can come of the config and arms."""
    if config.task != "ctr":
        raise UserError(
            f"a curve is drawn of task=ctr, this config has task={config.task}; such as preset=sample_efficient"
        )
    if arms[0] != "id_only":
        raise UserError("--arms: the first must be id_only, the plain model that the others are compared with")
    for arm in arms:
        if judged_side(arm) not in judged_sides(replace(config, arm=arm)):
            raise UserError(
                f"--arms: the {judged_side(arm)} side of {arm} is neither trained nor judged; see train.schedule and "
                "evaluation.untrained"
            )


def judged_side(arm: Arm) -> Side:
    """The side that an arm improves."""
    return "llm" if arm in ("llm_only", "id2llm") else "id"


def share_of(config: Config, arm: Arm, fraction: float, samples: int, seed: int) -> Config:
    """The config of one point; both sides learn from the same ``samples``, all of them for a share of 1."""
    count = 0 if fraction == 1 else samples
    train = config.train
    return replace(
        config,
        arm=arm,
        seed=seed,
        name=f"{config.name}/{arm}/share-{fraction:g}/seed-{seed}",
        train=replace(train, id=replace(train.id, samples=count), llm=replace(train.llm, samples=count)),
    )


def write_curve(curve: Curve, directory: Path) -> list[Path]:
    """Write ``curve.md``, ``curve.csv`` and, where matplotlib is there, ``curve.png``; the paths written."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = {directory / "curve.md": f"{curve_table(curve)}\n", directory / "curve.csv": curve_csv(curve)}
    for path, text in texts.items():
        write_text(path, text)
    plot = directory / "curve.png"
    return [*texts, plot] if plot_curve(curve, plot) else list(texts)
