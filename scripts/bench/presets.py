"""What the presets' parts cost, in one run: encoding the items again, the prefix, and finding a mixture's weights, as
shares of a plain LoRA epoch.

A few steps of every variant are timed in turns, so that whatever else the machine does hits all of them, and are
multiplied by the steps of an epoch; items are encoded in full, once. Plain LoRA has the preset's prompts, no prefix.
The mixture is that of the preset molorec, over two adapters at their random start: cost does not depend on weights.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from side_by_side import Clock, parser, start

from hybrid.config.load import load_config
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.instruct.adapters import adapter_state
from hybrid.instruct.stages import MixedRecommender
from hybrid.system import System, build_system
from hybrid.training.llm_learner import LLMLearner

VARIANTS = {
    "plain LoRA": ("arm=llm_only", "llm.tune=lora", "llm.prompt.prefix_tokens=0"),
    "frozen, no prefix": ("arm=llm_only", "llm.tune=none", "llm.prompt.prefix_tokens=0"),
    "frozen, M-Former prefix": ("arm=id2llm", "llm.tune=none"),
}
"""Overrides of the preset; a new part's cost is one more line here and one in `_shares`."""


@dataclass
class Variant:
    """One form of the LLM side while it trains."""

    name: str
    learner: LLMLearner
    system: System
    clock: Clock

    @property
    def epoch(self) -> tuple[float, float]:
        """Wall-clock and processor seconds of an epoch's steps."""
        steps = self.learner.batches_per_epoch()
        return steps * statistics.median(self.clock.wall), steps * statistics.median(self.clock.processor)


def main() -> None:
    """Time the variants and print an epoch of each, then the shares."""
    args = _arguments()
    start(args)
    variants = [_variant(name, overrides, args) for name, overrides in VARIANTS.items()]
    streams = [variant.learner.stream() for variant in variants]
    for number in range(args.steps + 1):  # the first step warms up
        for variant, stream in zip(variants, streams, strict=True):
            batch, _ = next(stream)
            clock = variant.clock if number else Clock()
            clock.run(lambda learner=variant.learner, batch=batch: learner.step(batch))
    for variant in variants:
        _line(variant.name, variant.epoch, f"{variant.learner.batches_per_epoch()} steps")
    encoding = _once(lambda: variants[-1].system.encode_items(0))
    _line("encoding all items", encoding, f"{variants[-1].system.data.n_items - 1} items")
    mixing = _mixing(args)
    _shares([variant.epoch for variant in variants], encoding, mixing)


def _mixing(args: argparse.Namespace) -> tuple[float, float]:
    """Wall-clock and processor seconds of finding the weights of a mixture by the least entropy."""
    config = load_config(None, [f"preset={args.mixture}", *_common(args)])
    dataset = prepare(config.data)
    recommender = MixedRecommender(config, dataset, data := split_training(dataset, config.data))
    start_weights = adapter_state(recommender.plain)
    recommender.mix([start_weights, start_weights])
    cost = _once(lambda: recommender.learn_weights(data.valid))
    mixture = config.instruct.mixture
    _line("finding a mixture's weights", cost, f"{mixture.steps} steps of {mixture.batch_prompts} prompts")
    return cost


def _shares(epochs: list[tuple[float, float]], encoding: tuple[float, float], mixing: tuple[float, float]) -> None:
    """Each part over the plain LoRA epoch of the same run."""
    plain, frozen, prefixed = epochs
    for name, cost in (
        ("prefix", tuple(a - b for a, b in zip(prefixed, frozen, strict=True))),
        ("encoding items again", encoding),
        ("finding a mixture's weights", mixing),
        ("a whole epoch of the preset", tuple(a + b for a, b in zip(prefixed, encoding, strict=True))),
    ):
        wall, processor = (part / whole for part, whole in zip(cost, plain, strict=True))
        print(f"{name}: {wall:.2f} of a plain LoRA epoch (by processor time {processor:.2f})", flush=True)


def _variant(name: str, overrides: tuple[str, ...], args: argparse.Namespace) -> Variant:
    config = load_config(None, [f"preset={args.preset}", *_common(args), *args.overrides, *overrides])
    system = build_system(config, split_training(prepare(config.data), config.data))
    learner = LLMLearner(
        system.config, system.need_llm(), system.need_prompts(), system.exchange, system.data, system.device, phases=1
    )
    learner.wake()
    return Variant(name, learner, system, Clock())


def _common(args: argparse.Namespace) -> list[str]:
    return [f"data.dataset={args.dataset}", f"data.cache_dir={args.cache}", f"seed={args.seed}"]


def _once(work: Callable[[], object]) -> tuple[float, float]:
    clock = Clock()
    clock.run(work)
    return clock.wall[0], clock.processor[0]


def _line(name: str, seconds: tuple[float, float], what: str) -> None:
    print(f"{name}: {seconds[0]:.0f} s ({seconds[1]:.0f} processor s), {what}", flush=True)


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--preset", default="laser")
    made.add_argument("--mixture", default="molorec", help="preset whose mixture is timed")
    made.add_argument("--dataset", default="ml-100k")
    made.add_argument("--cache", default="cache", help="data.cache_dir")
    made.add_argument("--steps", type=int, default=10, help="timed steps of each variant")
    made.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of --preset")
    return made.parse_args()


if __name__ == "__main__":
    main()
