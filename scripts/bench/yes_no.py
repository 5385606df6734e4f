"""Prompts a second that task ctr judges: the two rows of the answers against the whole vocabulary projection.

The same prompts, the same backbone, in turns within one run; both ways must give the same probabilities. The whole
projection is computed as a causal language model's ``forward`` does it, at every position, and once more at the last
position only.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hybrid.config.load import load_config
from hybrid.ctr.prompts import ClickPromptBatch, ClickPrompts, Selected
from hybrid.ctr.recommender import ClickRecommender
from hybrid.ctr.system import ClickSystem, build_click_system
from hybrid.data.clicks import draw_samples, split_clicks
from hybrid.data.prepare import prepare
from hybrid.llm.answers import Answers, answer_tokens


def main() -> None:
    """Measure the three ways in turns and print prompts a second."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    overrides = ["task=ctr", "arm=llm_only", f"llm.num_layers={args.layers}", f"data.dataset={args.dataset}"]
    config = load_config(None, [*overrides, f"data.cache_dir={args.cache}"])
    system = build_click_system(config, split_clicks(prepare(config.data), config.data))
    batches = _batches(system, args.prompts, args.batch)
    answers = _answers(system)
    ways = _ways(system.need_llm().eval(), answers)
    _check(ways, batches[0])
    seconds = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            seconds[name].append(_time(way, batches))
    tokens = np.mean([float(batch.lengths.float().mean()) for batch in batches])
    print(f"{args.prompts} prompts of {tokens:.0f} tokens, {args.layers or 'all'} layers, {args.threads} threads, ")
    print(f"batches of {args.batch}, best of {args.rounds} rounds")
    for name, found in seconds.items():
        print(f"{name:40s} {args.prompts / min(found):8.2f} prompts/s")


def _batches(system: ClickSystem, count: int, size: int) -> list[ClickPromptBatch]:
    scorer = system.llm_scorer()
    samples = draw_samples(system.data.valid, count, 0)
    prompts: ClickPrompts = replace(scorer.prompts, eval_prompts=size)
    return list(prompts.in_order_of_length(Selected.by(scorer.selector, samples, scorer.behaviours)))


def _answers(system: ClickSystem) -> Answers:
    prompt = system.config.llm.click_prompt
    return answer_tokens(system.need_llm().backbone.tokenizer, prompt.question, prompt.positive, prompt.negative)


def _ways(recommender: ClickRecommender, answers: Answers) -> dict[str, Callable[[ClickPromptBatch], Tensor]]:
    vocabulary = recommender.backbone.embeddings  # the bundled model shares them with its projection

    def everywhere(batch: ClickPromptBatch) -> Tensor:
        logits = recommender.hidden(recommender.embed(batch.tokens)) @ vocabulary.T  # [B, T, vocabulary]
        last = logits[torch.arange(len(logits)), batch.lengths - 1].float()
        return last[:, answers.yes] - last[:, answers.no]

    def at_the_end(batch: ClickPromptBatch) -> Tensor:
        hidden = recommender.hidden(recommender.embed(batch.tokens))
        last = (hidden[torch.arange(len(hidden)), batch.lengths - 1] @ vocabulary.T).float()
        return last[:, answers.yes] - last[:, answers.no]

    return {
        "rows of the answers, last position": recommender.log_odds,
        "whole vocabulary, last position": at_the_end,
        "whole vocabulary, every position": everywhere,
    }


def _check(ways: dict[str, Callable[[ClickPromptBatch], Tensor]], batch: ClickPromptBatch) -> None:
    with torch.no_grad():
        shares = [torch.sigmoid(way(batch)) for way in ways.values()]
    for other in shares[1:]:
        torch.testing.assert_close(other, shares[0], atol=2e-2, rtol=0)


def _time(way: Callable[[ClickPromptBatch], Tensor], batches: list[ClickPromptBatch]) -> float:
    started = time.perf_counter()
    with torch.no_grad():
        for batch in batches:
            way(batch)
    return time.perf_counter() - started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--layers", type=int, default=6, help="lowest layers kept of smollm2-135m; 0: all")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
