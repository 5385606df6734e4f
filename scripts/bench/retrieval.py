"""Retrieval of the K most similar earlier behaviours for every sample: ours against loops over users and samples.

Every interaction with at least five before it is a sample, as in click prediction. Two loops, both numpy: `plain`
takes each sample by itself (gather the history's vectors, one product of a matrix and a vector, `argpartition`); `lean`
gathers a user's vectors once for all its samples. They run on a share of the users, of short and long histories alike:
every so many of those that are sorted by length. Vectors are random: their values hardly matter to the time. Results
are compared on the loops' samples; the loops' cosines are float32, so that two nearly equal ones may change places.
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
    step = round(1 / args.loop_share)
    users = np.argsort(ends - starts, kind="stable")[step // 2 :: step]
    everyone = _samples(starts, ends)
    few = _samples(starts[users], ends[users])
    targets = items[everyone[1]]
    work = {"ours": lambda: most_similar(vectors, items, *everyone, targets, args.count)}
    for name in ("plain", "lean"):
        work[name] = lambda name=name: _loop(name, vectors, items, starts[users], ends[users], args.count)
    found: dict[str, np.ndarray] = {}
    clocks = {name: Clock() for name in work}
    for _ in range(args.repeats):
        for name in work:
            found.pop(name, None)
            clocks[name].run(lambda name=name: found.update({name: work[name]()}))
    served = {"ours": everyone, "plain": few, "lean": few}
    rates = {name: clocks[name].rates(len(served[name][0])) for name in work}
    print(f"K {args.count}, width {args.width}, median of {args.repeats}")
    for name, (begins, stops) in served.items():
        mean = f"mean history {(stops - begins).mean():.0f}"
        print(f"{name:6s}{len(begins):10,} samples, {mean}{rates[name][0]:12,.0f} samples/s")
    for name in ("plain", "lean"):
        print(f"ours to {name}: {ratio_line(rates['ours'], rates[name])}")
    place = {(begin, end): number for number, (begin, end) in enumerate(zip(*everyone, strict=True))}
    same = found["ours"][[place[pair] for pair in zip(*few, strict=True)]] == found["lean"]
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
    made.add_argument("--loop-share", type=float, default=0.1, help="share of the users that the loop serves")
    made.add_argument("--repeats", type=int, default=3)
    return made.parse_args()


if __name__ == "__main__":
    main()
