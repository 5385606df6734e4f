"""Retrieval of the K most similar earlier behaviours for every sample: ours against loops over users and samples.

Every interaction with at least five before it is a sample, as in click prediction. Two loops, both numpy: `plain`
takes each sample by itself (gather the history's vectors, one product of a matrix and a vector, `argpartition`); `lean`
gathers a user's vectors once for all its samples. They run on a random share of the users. Vectors are random: their
values hardly matter to the time. Results are compared on the loops' samples.
"""

import argparse
import tempfile

import numpy as np
from side_by_side import DATASETS, Clock, our_data, parser, ratio_line, start

from bridges.retrieval import most_similar
from bridges.semantic_space import on_grid

EARLIER = 5


def main() -> None:
    """Time both on the same machine in the same run."""
    args = _arguments()
    start(args)
    with tempfile.TemporaryDirectory() as folder:
        data = our_data(args.dataset, folder)
    vectors = on_grid(np.random.default_rng(args.seed).normal(size=(data.n_items, args.width)))
    items, starts, ends = data.train.items.astype(np.int64), data.train.starts, data.train.ends
    users = np.random.default_rng(args.seed).choice(len(starts), int(len(starts) * args.loop_share), replace=False)
    everyone = _samples(starts, ends)
    few = _samples(starts[users], ends[users])
    found: list[np.ndarray] = []
    clocks = {"ours": Clock(), "plain": Clock(), "lean": Clock()}
    for _ in range(args.repeats):
        clocks["ours"].run(
            lambda: found.append(most_similar(vectors, items, *everyone, items[everyone[1]], args.count))
        )
        for name in ("plain", "lean"):
            clocks[name].run(
                lambda name=name: found.append(_loop(name, vectors, items, starts[users], ends[users], args.count))
            )
    amounts = {"ours": len(everyone[0]), "plain": len(few[0]), "lean": len(few[0])}
    rates = {name: clock.rates(amounts[name]) for name, clock in clocks.items()}
    print(f"K {args.count}, width {args.width}, median of {args.repeats}")
    for name, rate in rates.items():
        print(f"{name:6s}{amounts[name]:10,} samples{rate[0]:12,.0f} samples/s")
    for name in ("plain", "lean"):
        print(f"ours to {name}: {ratio_line(rates['ours'], rates[name])}")
    place = {(begin, end): number for number, (begin, end) in enumerate(zip(*everyone, strict=True))}
    same = found[-3][[place[pair] for pair in zip(*few, strict=True)]] == found[-1]
    print(f"samples with the same behaviours: {same.all(axis=1).mean():.4%}")


def _samples(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of the history of every sample, user after user."""
    counts = np.maximum(0, ends - starts - EARLIER)
    begins = np.repeat(starts, counts)
    return begins, begins + EARLIER + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _loop(
    name: str, vectors: np.ndarray, items: np.ndarray, starts: np.ndarray, ends: np.ndarray, count: int
) -> np.ndarray:
    found = []
    for begin, end in zip(starts, ends, strict=True):
        history = vectors[items[begin:end]]
        for place in range(EARLIER, end - begin):
            known = history[:place] if name == "lean" else vectors[items[begin : begin + place]]
            cosines = known @ history[place]
            best = np.argpartition(cosines, place - count)[place - count :] if place > count else np.arange(place)
            row = np.full(count, -1)
            row[: len(best)] = begin + np.sort(best)
            found.append(row)
    return np.array(found)


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--dataset", choices=DATASETS, default="ml-1m")
    made.add_argument("--count", type=int, default=30, help="behaviours K kept of each history")
    made.add_argument("--width", type=int, default=512, help="width of the vectors")
    made.add_argument("--loop-share", type=float, default=0.05, help="share of the users that the loop serves")
    made.add_argument("--repeats", type=int, default=3)
    return made.parse_args()


if __name__ == "__main__":
    main()
