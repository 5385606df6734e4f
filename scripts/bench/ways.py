"""Ways to join the two sides, each by its own setting, beside `preset=joint`: what they do on validation.

Rows of the first group have no turn of the language model: what is known of the texts before it learns. Those of the
second are whole joint runs. The test part is not read. Finished runs are kept in ``--output`` and not trained again, so
rows and seeds can be added later and a broken-off run goes on where it was.
"""

import argparse
from collections.abc import Iterable

from hybrid.config.load import load_config
from hybrid.config.schema import Config
from hybrid.data.prepare import prepare
from hybrid.errors import UserError, nearest
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.logs import log_to_screen
from hybrid.runs import finished_run, log

STATIC = (
    "arm=llm2id train.schedule.rounds=1 train.schedule.llm_length=0 evaluation.untrained=false train.safeguard=false"
)
SIMILARITY = "bridges.neighbours.temperature={0} bridges.smoothing.temperature={0}"
NEIGHBOURS = "bridges.neighbours.neighbours={0} bridges.smoothing.neighbours={0}"
TITLES = (
    "llm.prompt.items=titles llm.item_layers=kept llm.prompt.windows_per_user=1 "
    "llm.prompt.history_items=10 llm.prompt.targets_per_prompt=10"
)
HARD = "bridges.hard_negatives.enabled=true bridges.hard_negatives.id_weight={0} bridges.hard_negatives.llm_weight={0}"
PROPOSED = "bridges.substitution.enabled=true bridges.substitution.source=ranking"
WAYS: dict[str, str] = {
    "plain": "arm=id_only",
    "texts of the preset alone": "",
    "6 layers read the texts": "llm.item_layers=kept",
    "12 layers read the texts": "llm.item_layers=kept llm.num_layers=12",
    "knowledge: an MLP": "bridges.knowledge.projection=mlp",
    "knowledge: gated": "bridges.knowledge.projection=gated",
    "knowledge: 128 components": "bridges.knowledge.components=128",
    "knowledge: 400 components": "bridges.knowledge.components=400",
    "offsets: weight 0.25": "bridges.neighbours.weight=0.25",
    "offsets: weight 1": "bridges.neighbours.weight=1",
    "offsets: by rarity with k = 10": "bridges.neighbours.rarity=10",
    "offsets: by rarity with k = 10 and weight 1": "bridges.neighbours.rarity=10 bridges.neighbours.weight=1",
    "smoothing: weight 0.1": "bridges.smoothing.weight=0.1",
    "smoothing: weight 0.4": "bridges.smoothing.weight=0.4",
    "10 neighbours": NEIGHBOURS.format(10),
    "50 neighbours": NEIGHBOURS.format(50),
    "neighbours at temperature 0.1": SIMILARITY.format(0.1),
    "substitutions of a fifth of the inputs": "bridges.substitution.enabled=true",
    "substitutions in histories of up to 5 items": "bridges.substitution.enabled=true bridges.substitution.longest=5",
    "without knowledge features": "bridges.knowledge.enabled=false",
    "without shared offsets": "bridges.neighbours.enabled=false",
    "without smoothed targets": "bridges.smoothing.enabled=false",
    "D = 64": "id.width=64 id.inner_width=256",
    "D = 256": "id.width=256 id.inner_width=1024",
    "BSARec": "id.model=bsarec",
    "plain BSARec": "id.model=bsarec arm=id_only",
}
"""Settings of the rows without turns."""
TURNS: dict[str, str] = {
    "the preset": "",
    "M-Former prefix": "bridges.mformer.enabled=true",
    "the user's state as a token": "bridges.store.user_token=true",
    "the LLM distils with weight 0.3": "bridges.distill.llm_weight=0.3",
    "the LLM learns from labels alone": "bridges.distill.llm_weight=0",
    "distillation by confidence": "bridges.distill.weighting=confidence",
    "distillation by agreement": "bridges.distill.weighting=agreement",
    "distillation weighed by the best blend": "bridges.distill.weight_by=blend",
    "distillation of the whole catalogue": "bridges.distill.candidates=1000000",
    "no distillation": "bridges.distill.enabled=false",
    "no collaborative features": "bridges.collaborative.enabled=false",
    "no item tokens": "bridges.store.enabled=false",
    "four short rounds": "train.schedule.rounds=4 train.schedule.id_length=30 train.schedule.llm_length=2",
    "the LLM first": "train.schedule.first=llm",
    "nothing crosses before round 2": "train.schedule.exchange_from_round=2",
    "nothing crosses before round 2 of 3": "train.schedule.exchange_from_round=2 train.schedule.rounds=3",
    "three rounds": "train.schedule.rounds=3",
    "eight LLM epochs a round": "train.schedule.llm_length=8",
    "LoRA of rank 64": "llm.lora.rank=64 llm.lora.alpha=128",
    "twelve layers": "llm.num_layers=12",
    "dropout of item vectors 0.5": "llm.prompt.vector_dropout=0.5",
    "LLM learning rate 0.0003": "train.llm.learning_rate=0.0003",
    "distillation with weight 1": "bridges.distill.id_weight=1.0",
    "distillation at temperature 1": "bridges.distill.temperature=1.0",
    "no mean of the ID model's weights": "train.id.average=0",
    "all positions of a batch are taught": "bridges.distill.positions=0",
    "LoRA dropout 0.2": "llm.lora.dropout=0.2",
    "meta-LoRAs gated by the user's state": "llm.lora.kind=gated bridges.lora_gate.enabled=true",
    "read-back": "bridges.readback.enabled=true",
    "read-back that pulls": "bridges.readback.enabled=true bridges.readback.pull_weight=0.1",
    "hard negatives for both sides": "bridges.hard_negatives.enabled=true",
    "hard negatives with weight 0.5": HARD.format(0.5),
    "histories of 40 items": "llm.prompt.history_items=40",
    "targets smoothed by sequences": "bridges.sequence_smoothing.enabled=true",
    "a fifth of the history items replaced by what the LLM proposes": PROPOSED,
    "of 40 items 20 that the ID model attends to": "llm.prompt.history_items=40 bridges.attended_history.enabled=true",
    "items as titles that are encoded again each round": TITLES,
}
"""Settings of the rows with turns."""


def main() -> None:
    """Train what is missing and print the tables."""
    args = _arguments()
    log_to_screen()
    for row in args.rows.split(",") if args.rows else [*WAYS, *(TURNS if args.turns else ())]:
        if row not in WAYS | TURNS:
            raise UserError(f"--rows: unknown row {row!r}{nearest(row, WAYS | TURNS)}")
        print(f"| {row} | {_measured(_config(row, args))} |", flush=True)


def _measured(config: Config) -> str:
    """NDCG@10 on validation of each side of the run, and that on tail items in brackets."""
    run = finished_run(config, prepare(config.data).fingerprint)
    cells = []
    for side, found in evaluate_run(run.path, "valid")["sides"].items():
        tail = found["groups"]["popularity"]["tail"].get("ndcg@10", 0.0)
        cells.append(f"{side} {found['metrics']['ndcg@10']:.4f} ({tail:.4f})")
    return " | ".join(cells)


def _config(row: str, args: argparse.Namespace) -> Config:
    own = f"{STATIC} {WAYS[row]}" if row in WAYS else TURNS[row]
    for key in sorted(_keys(own.split()) & _keys(args.settings)):
        log.warning("row %r: its own %s gives way to that of all rows", row, key)
    name = "".join(letter if letter.isalnum() else "-" for letter in row.lower())
    places = [f"data.dataset={args.dataset}", f"data.cache_dir={args.cache}", f"output_dir={args.output}"]
    shared = [f"name={name}-{args.seed}", f"seed={args.seed}", f"threads={args.threads}"]
    return load_config(None, ["preset=joint", *shared, *places, *own.split(), *args.settings])


def _keys(settings: Iterable[str]) -> set[str]:
    return {setting.partition("=")[0] for setting in settings}


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("settings", nargs="*", help="settings of all rows, such as train.id.weight_decay=0.3")
    made.add_argument("--rows", default="", help="comma-separated names (default: all of the first group)")
    made.add_argument("--turns", action="store_true", help="the second group too")
    made.add_argument("--seed", default="1")
    made.add_argument("--dataset", required=True)
    made.add_argument("--output", default="runs/ways")
    made.add_argument("--cache", default="cache")
    made.add_argument("--threads", type=int, default=1)
    return made.parse_args()


if __name__ == "__main__":
    main()
