"""The stages of MoLoRec: a domain-general adapter, a domain-specific one, and the weights of their mixture.

Both adapters begin at the same random start on the untouched language model. A stage that is done is not done again
when the run is resumed; one that was cut short begins anew.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from tqdm import tqdm

from hybrid.config.schema import Config
from hybrid.data.dataset import Dataset
from hybrid.data.split import Targets, TrainingData
from hybrid.errors import UserError
from hybrid.evaluation.references import load_references
from hybrid.instruct.adapters import (
    Weights,
    attach_mixture,
    fresh_adapter,
    is_stored,
    load_stored,
    mixture,
    store_adapter,
    store_merged,
)
from hybrid.instruct.domains import load_domain, load_general
from hybrid.instruct.entropy import minimise_entropy
from hybrid.instruct.examples import Examiner, Example, without
from hybrid.instruct.learner import InstructionLearner
from hybrid.instruct.ranking import Questions, grouped_metrics, question_ranks
from hybrid.instruct.speaker import Speaker
from hybrid.llm.adapter import attach_adapter, save_adapter
from hybrid.llm.vocabulary import load_vocabulary
from hybrid.system import choose_device, load_llm
from hybrid.training.clock import Clock
from hybrid.training.monitor import Monitor
from hybrid.training.run_directory import RunDirectory, read_json, replace_directory, write_json
from hybrid.training.validation import draw_targets

if TYPE_CHECKING:
    from peft import PeftModel

log = logging.getLogger(__name__)

FIXED: dict[str, tuple[float, float]] = {"general only": (1, 0), "specific only": (0, 1), "half and half": (0.5, 0.5)}
"""Mixtures that every run is compared with: weights of the general and of the specific adapter."""
LEARNED = "llm"
METRIC = "ndcg@3"


class MixedRecommender:
    """Language model, words and questions of one domain; the mixture once both adapters are there.

    Raises UserError where the domain has too little text.
    """

    def __init__(self, config: Config, dataset: Dataset, data: TrainingData) -> None:
        self.config = config
        self.domain = load_domain(config.data, dataset)
        device = choose_device(config.device)
        self.backbone = load_llm(config, data.item_text, device)
        self.examiner = Examiner(self.domain, self.backbone.tokenizer, config)
        self.plain: PeftModel = attach_adapter(self.backbone, config.llm.lora)
        self.speaker = Speaker(self.plain, load_vocabulary(self.backbone))
        seen = data.popularity() > 0
        self.questions = Questions(
            self.examiner.wording, self.examiner.titled, seen, config.llm.prompt.history_items, config.instruct,
            config.seed, self.domain.name,
        )  # fmt: skip

    def mix(self, adapters: list[Weights]) -> None:
        """Put the mixture of general and specific adapter in the place of the plain one."""
        config = self.config
        mixed = attach_mixture(self.plain, self.backbone, adapters, config.llm.lora, config.instruct.mixture)
        self.speaker.lm = mixed

    def measure(self, targets: Targets, catalogue_users: int = 0) -> dict[str, float]:
        """Metrics among candidates, all, warm and unseen; and in the whole catalogue of so many of the users."""
        questions = self.questions.among_candidates(targets)
        wording, normalise = self.examiner.wording, self.config.instruct.normalise
        values = grouped_metrics(question_ranks(self.speaker, questions, wording, normalise), questions)
        if catalogue_users:
            few = self.questions.whole_catalogue(draw_targets(targets, catalogue_users, self.config.seed))
            found = grouped_metrics(question_ranks(self.speaker, few, wording, normalise), few)
            values |= {f"catalogue/{name}": value for name, value in found.items()}
        return values

    def set_weights(self, weights: Sequence[float]) -> None:
        """Give the whole mixture these weights."""
        mixture(self.speaker.lm).set_weights(weights)

    def learn_weights(self, targets: Targets) -> list[float]:
        """Find the mixture's weights as the config says; the entropies on the way, where it says so."""
        config = self.config.instruct.mixture
        if config.weights == "fixed":
            self.set_weights([config.general_weight, 1 - config.general_weight])
            return []
        if config.weights == "grid":
            self._search(targets, config.grid_points)
            return []
        self.set_weights([0.5, 0.5])
        unlabelled = draw_targets(targets, config.prompts, self.config.seed)
        prompts = [question.prompt for question in self.questions.among_candidates(unlabelled)]
        torch.manual_seed(self.config.seed)
        return minimise_entropy(self.speaker, mixture(self.speaker.lm).parameters(), prompts, config)

    def mean_weights(self) -> list[float]:
        """Weights of both adapters, the mean over whatever has a pair of its own."""
        shares = torch.stack(list(mixture(self.speaker.lm).weights().values()))
        return [round(value, 4) for value in shares.mean(dim=0).tolist()]

    def _search(self, targets: Targets, points: int) -> None:
        best, best_value = 0.0, -1.0
        questions = self.questions.among_candidates(targets)
        for number in range(points):
            share = number / (points - 1)
            self.set_weights([share, 1 - share])
            ranks = question_ranks(self.speaker, questions, self.examiner.wording, self.config.instruct.normalise)
            value = grouped_metrics(ranks, questions)[METRIC]
            log.info("mixture %.2f general, %.2f specific: %s %.4f", share, 1 - share, METRIC, value)
            if value > best_value:
                best, best_value = share, value
        self.set_weights([best, 1 - best])


class StagedTrainer:
    """Works through the stages. Nothing is written before `start`.

    Raises UserError where a domain has too little text, a user of it took so many items that candidates are lacking, an
    instruction may be longer than the model can read, or a general adapter can't be had.
    """

    def __init__(self, config: Config, dataset: Dataset, data: TrainingData) -> None:
        self.config, self.data = config, data
        load_references(config.instruct.references, data)  # `evaluate` needs them: better to find them wrong now
        self.recommender = MixedRecommender(config, dataset, data)
        stored = bool(config.instruct.general_dir) and is_stored(Path(config.instruct.general_dir))
        if stored:
            load_stored(self.recommender.plain, self.recommender.backbone, Path(config.instruct.general_dir))
        elif not config.instruct.general_datasets:
            raise UserError(
                "no domain-general adapter: name the datasets it is to be trained on in instruct.general_datasets, or "
                "the directory of a finished one in instruct.general_dir"
            )
        domains = [] if stored else load_general(config.data, config.instruct.general_datasets)
        tokenizer = self.recommender.backbone.tokenizer
        self.general_examiners = [Examiner(domain, tokenizer, config) for domain in domains]
        self._check_questions()

    def _check_questions(self) -> None:
        """Better to find candidates lacking or prompts too long now than amid a stage, or after all of them."""
        recommender = self.recommender
        for examiner in (*self.general_examiners, recommender.examiner):
            examiner.check_length(recommender.backbone.context)
            examiner.check_candidates()
        recommender.questions.among_candidates(self._valid_targets())

    def _valid_targets(self) -> Targets:
        return draw_targets(self.data.valid, self.config.instruct.valid_users, self.config.seed)

    def start(self, run: RunDirectory, resume: bool = False) -> None:
        """Open the run directory; with ``resume`` stages that are done stay done."""
        self.run, self.stages_file = run, run.path / "stages.json"
        done = read_json(self.stages_file) if resume and self.stages_file.exists() else {}
        self.monitor, self.clock = Monitor(run.path, done.get("sizes")), Clock(done.get("seconds", 0.0))

    def train(self) -> dict[str, float]:
        """All stages; validation metrics of the learned mixture and of the fixed ones."""
        config = self.config.instruct
        general_examples = self._general_examples()
        general = self._adapter("general", self.general_directory, general_examples, config.general_epochs)
        examples = self.recommender.examiner.draw(config.specific_examples, self.config.seed)
        examples = without(examples, general_examples)
        if not examples:
            raise UserError(
                "all specific examples are among the general ones; ask for more in instruct.specific_examples or name "
                "other datasets in instruct.general_datasets"
            )
        directory = self.run.path / "adapters" / "specific"
        specific = self._adapter("specific", directory, examples, config.specific_epochs)
        results = self._mix([general, specific])
        self.monitor.record("finished", results)
        self.monitor.close()
        return results

    @property
    def general_directory(self) -> Path:
        """Where the domain-general adapter is or will be."""
        chosen = self.config.instruct.general_dir
        return Path(chosen) if chosen else self.run.path / "adapters" / "general"

    def _general_examples(self) -> list[Example]:
        """Also where the adapter is loaded, an empty list: what it was trained on is not known then."""
        examples: list[Example] = []
        for examiner in self.general_examiners:
            examples += examiner.draw(self.config.instruct.general_examples, self.config.seed + 1)
        return examples

    def _adapter(self, stage: str, directory: Path, examples: Sequence[Example], epochs: int) -> Weights:
        """The adapter of a stage, loaded if it is stored, else trained and stored."""
        recommender = self.recommender
        if not is_stored(directory):
            self._train_stage(stage, examples, epochs)
            tasks = {task: sum(example.task == task for example in examples) for task in self.config.instruct.tasks}
            examiners = self.general_examiners if stage == "general" else [recommender.examiner]
            names = [examiner.domain.name for examiner in examiners]
            about = {"stage": stage, "domains": names, "examples": tasks, "epochs": epochs, "seed": self.config.seed}
            store_adapter(recommender.plain, recommender.backbone, directory, about)
            self._remember()
        else:
            log.info("%s adapter: loaded from %s", stage, directory)
        return load_stored(recommender.plain, recommender.backbone, directory)

    def _train_stage(self, stage: str, examples: Sequence[Example], epochs: int) -> None:
        recommender = self.recommender
        log.info("%s adapter: %d examples, %d epochs", stage, len(examples), epochs)
        fresh_adapter(recommender.plain, self.config.seed)
        learner = InstructionLearner(self.config, recommender.speaker, examples, epochs)
        learner.wake()
        total = epochs * learner.batches_per_epoch()
        with tqdm(total=total, desc=stage, unit="step", disable=None, dynamic_ncols=True) as bar:
            for batch, _ in learner.stream():
                logs = learner.step(batch)
                bar.update()
                bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)
                if learner.steps % self.config.train.log_steps == 0 or learner.steps == total:
                    self.monitor.scalars(f"train/{stage}", logs, learner.steps)
                if learner.steps == total:
                    break
        learner.sleep()

    def _mix(self, adapters: list[Weights]) -> dict[str, float]:
        """Learn the mixture, measure it and the fixed ones on valid users, and store it."""
        recommender = self.recommender
        recommender.mix(adapters)
        valid = self._valid_targets()
        results: dict[str, float] = {}
        for name, weights in FIXED.items():
            recommender.set_weights(weights)
            results |= self._measured(name, valid)
        for step, entropy in enumerate(recommender.learn_weights(valid)):
            self.monitor.scalars("mixture", {"entropy": entropy}, step)
        general, specific = recommender.mean_weights()
        self.monitor.scalars("mixture", {"general": general, "specific": specific}, 0)
        log.info("mixture: %.3f general, %.3f specific", general, specific)
        results |= self._measured("learned", valid) | {"general_weight": general, "specific_weight": specific}
        mixed = cast(Any, recommender.speaker.lm)
        replace_directory(self.run.best_llm, lambda path: save_adapter(mixed, path))
        router, merged = mixture(mixed), self.run.path / "adapters" / "merged"
        store_merged(recommender.backbone, adapters, router, self.config, merged)
        return results

    def _measured(self, name: str, targets: Targets) -> dict[str, float]:
        values = self.recommender.measure(targets)
        self.monitor.scalars(f"valid/{name.replace(' ', '_')}", values, 0)
        self.monitor.record("valid", {"mixture": name, **values})
        log.info("%s: %s", name, ", ".join(f"{key} {values[key]:.4f}" for key in ("hr@1", METRIC, "ndcg@10")))
        return {f"valid/{name}/{key}": values[key] for key in ("hr@1", METRIC, "ndcg@10")}

    def _remember(self) -> None:
        write_json(self.stages_file, {"sizes": self.monitor.sizes(), "seconds": self.clock.seconds})
