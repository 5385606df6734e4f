"""Full-catalogue evaluation by RecBole's Trainer and by ours, in one run: users per second and their ratio.

The same weights, the same users and histories, the same metrics (HR, NDCG and MRR at 5, 10 and 20 over all items, the
history not masked). Each side takes whole passes over the valid users, in turns.
"""

import argparse

import torch
from side_by_side import (
    Clock,
    add_model,
    our_data,
    parser,
    ratio_line,
    recbole_settings,
    recbole_sizes,
    recbole_trainer,
    scratch,
    start,
)

from hybrid.config.schema import EvaluationConfig
from hybrid.evaluation.rankers import IDRanker, rank_side
from idmodels.registry import create_id_model

SHOWN = {"hr@10": "hit@10", "ndcg@10": "ndcg@10", "mrr@20": "mrr@20"}


def main() -> None:
    """Measure both in turns and print what each found and how fast."""
    args = _arguments()
    start(args)
    with scratch() as folder:
        ours, theirs = _Ours(args, folder), _RecBole(args, folder)
        theirs.trainer.model.load_state_dict(ours.model.state_dict())
        for _ in range(args.passes):
            theirs.measure()
            ours.measure()
    users = len(ours.data.valid)
    print(f"{args.model}, {args.dataset}, {users} users, {ours.data.n_items - 1} items, L = {args.length}")
    for name, side in (("RecBole", theirs), ("ours", ours)):
        passes = ", ".join(f"{taken:.2f}" for taken in side.clock.wall)
        values = ", ".join(f"{metric} {value:.5f}" for metric, value in side.metrics.items())
        print(f"{name:8s}{side.clock.rates(users)[0]:9.0f} users/s: median of {passes} s; {values}")
    print(ratio_line(ours.clock.rates(users), theirs.clock.rates(users)))


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    add_model(made)
    made.set_defaults(dataset="ml-1m")
    made.add_argument("--passes", type=int, default=3, help="passes over all users on each side; the median counts")
    made.add_argument("--recbole-batch", type=int, default=4096, help="RecBole's eval_batch_size (its default)")
    made.add_argument("--batch-users", type=int, default=EvaluationConfig.batch_users, help="our users at once")
    return made.parse_args()


class _Ours:
    def __init__(self, args: argparse.Namespace, folder: str) -> None:
        self.data = our_data(args.dataset, folder)
        torch.manual_seed(args.seed)
        self.model = create_id_model(self.data.n_items, recbole_sizes(args.model, args.length))
        self.config = EvaluationConfig(mask_history=False, batch_users=args.batch_users)
        self.ranker = IDRanker(self.model, args.batch_users, torch.device("cpu"))
        self.clock = Clock()
        self.metrics: dict[str, float] = {}
        self._evaluate()

    def measure(self) -> None:
        self.clock.run(self._evaluate)

    def _evaluate(self) -> None:
        found, _ = rank_side(self.ranker, self.data.valid, self.config)
        self.metrics = {name: found[name] for name in SHOWN}


class _RecBole:
    def __init__(self, args: argparse.Namespace, folder: str) -> None:
        settings = {
            "metrics": ["Hit", "NDCG", "MRR"],
            "topk": [5, 10, 20],
            "metric_decimal_place": 8,
            "eval_batch_size": args.recbole_batch,
            "seed": args.seed,
        }
        config = recbole_settings(recbole_sizes(args.model, args.length), args.dataset, folder, **settings)
        self.trainer, train, self.valid = recbole_trainer(config, folder)
        self.trainer.eval_collector.data_collect(train)
        self.clock = Clock()
        self.metrics: dict[str, float] = {}

    def measure(self) -> None:
        self.clock.run(self._evaluate)

    def _evaluate(self) -> None:
        found = self.trainer.evaluate(self.valid, load_best_model=False)
        self.metrics = {name: float(found[theirs]) for name, theirs in SHOWN.items()}


if __name__ == "__main__":
    main()
