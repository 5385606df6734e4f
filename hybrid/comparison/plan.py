"""Which runs a comparison consists of: arms, each bridge alone and left out, and controls; each with every seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from bridges.registry import BRIDGES
from hybrid.config.load import build_config, dump_config, merge, nest
from hybrid.config.schema import Arm, Config
from hybrid.errors import UserError, nearest
from hybrid.exchange import DIRECTIONS, enabled_settings, judged_sides
from hybrid.llm.sentence_encoder import PACKAGED, encoder_directory
from hybrid.llm.word_vectors import BAG_OF_WORDS

Kind = Literal["arm", "ablation", "control"]

SHUFFLED = "shuffled_history"
"""The control that only evaluates: it has no runs of its own."""
STATIC = "static_text"
ONE_VIEW = "one_view"
CONTROLS: dict[str, dict[str, Any]] = {
    "item_text": {"controls.item_text": "permuted"},
    "id_states": {"controls.id_states": "permuted"},
    "id_items": {"controls.id_items": "permuted"},
    "projector": {"controls.projector": "random"},
    "llm_weights": {"controls.llm_weights": "random"},
    "self_teacher": {"bridges.distill.teacher": "self"},
    "peer_teacher": {"bridges.distill.teacher": "peer", "train.schedule.llm_length": 0, "evaluation.untrained": False},
    "sentence_encoder": {"llm.item_encoder": PACKAGED, "llm.item_layers": "kept", "llm.shared_encoder": ""},
    "bag_of_words": {"llm.item_encoder": BAG_OF_WORDS, "llm.item_layers": "kept", "llm.shared_encoder": ""},
    ONE_VIEW: {"llm.shared_encoder": ""},
    STATIC: {"train.schedule.llm_length": 0, "evaluation.untrained": False},
    SHUFFLED: {},
}
"""Settings of each control, which can be set by hand too; static_text: texts as they are
read before anything is tuned, no turns; one_view: the bridges read the LLM side's own vectors."""


@dataclass(frozen=True)
class Entry:
    """One line of the plan: a config for each seed."""

    name: str
    """Folder of its runs, below the comparison's."""
    suffix: str
    """What is said of it after the recommender's name."""
    kind: Kind
    configs: tuple[Config, ...]
    shuffled: bool = False
    """Whether the runs of an arm are evaluated with shuffled histories."""


@dataclass(frozen=True)
class Plan:
    """What is to be run, and what is left out and why."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def make_plan(
    config: Config,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    ablate: bool = False,
    controls: Sequence[str] = (),
    extra_seeds: Sequence[int] = (),
) -> Plan:
    """All runs of a comparison; ablations and controls are those of `both`, or of the last arm with an exchange.

    ``extra_seeds``: seeds of ablations and controls; none: all. ``controls`` may be ``("all",)``: those that apply.
    Raises UserError for an unknown control, or one that does not apply.
    """
    entries, notes = _arms(config, arms, seeds)
    if ablate or controls:
        joint, few = changed(config, {"arm": _joint(arms)}), extra_seeds or seeds
        if ablate:
            for name, overrides in ablations(joint).items():
                try:
                    entries.append(_entry(joint, name, name.replace("_", " "), "ablation", overrides, few))
                except UserError as error:
                    notes.append(f"{name} left out: {error}")
        for name in _chosen(controls):
            try:
                entries += _control(joint, name, few, arms, seeds)
            except UserError as error:
                if "all" not in controls:
                    raise
                notes.append(f"control {name} left out: {error}")
    return Plan(tuple(entries), tuple(notes))


def _arms(config: Config, arms: Sequence[Arm], seeds: Sequence[int]) -> tuple[list[Entry], list[str]]:
    """The arms that have something to judge, and notes about the others."""
    entries, notes = list[Entry](), list[str]()
    for arm in arms:
        entry = _entry(config, arm, "", "arm", {"arm": arm}, seeds)
        if judged_sides(entry.configs[0]):
            entries.append(entry)
        else:
            notes.append(
                f"{arm} left out: its side is neither trained nor judged (train.schedule, evaluation.untrained)"
            )
    if not entries:
        raise UserError(f"--arms: {'; '.join(notes)}")
    return entries, notes


def changed(config: Config, overrides: Mapping[str, Any]) -> Config:
    """The config with dotted settings changed, checked again. Raises UserError where it is not possible."""
    tree = yaml.safe_load(dump_config(config))
    for key, value in overrides.items():
        merge(tree, nest(key, value))
    return build_config(tree)


def ablations(config: Config) -> dict[str, dict[str, Any]]:
    """Settings that leave each bridge of the config's arm alone (only_NAME), and that leave it out (without_NAME)."""
    allowed = DIRECTIONS[config.arm] | {"both"}
    on = [
        name
        for name in enabled_settings(config.bridges, config.arm)
        if BRIDGES[name].direction in allowed and config.task in BRIDGES[name].tasks
    ]
    found: dict[str, dict[str, Any]] = {}
    for name in on if len(on) > 1 else []:
        found[f"only_{name}"] = {f"bridges.{other}.enabled": False for other in on if other != name}
    return found | {f"without_{name}": {f"bridges.{name}.enabled": False} for name in on}


def _entry(
    config: Config, name: str, suffix: str, kind: Kind, overrides: Mapping[str, Any], seeds: Sequence[int]
) -> Entry:
    configs = [
        changed(config, {**overrides, "seed": seed, "name": f"{config.name}/{name}/seed-{seed}"}) for seed in seeds
    ]
    return Entry(name, suffix, kind, tuple(configs))


def _control(joint: Config, name: str, few: Sequence[int], arms: Sequence[Arm], seeds: Sequence[int]) -> list[Entry]:
    if name == SHUFFLED:
        if joint.task != "ranking":
            raise UserError(f"control {name}: histories are shuffled for task=ranking, this is {joint.task}")
        entries = [
            _entry(joint, arm, "histories shuffled at test time", "control", {"arm": arm}, seeds) for arm in arms
        ]
        return [Entry(entry.name, entry.suffix, entry.kind, entry.configs, shuffled=True) for entry in entries]
    if name == "sentence_encoder":
        encoder_directory(PACKAGED)
    if name in (STATIC, ONE_VIEW) and not ("llm2id" in DIRECTIONS[joint.arm] and _reads_texts(joint)):
        raise UserError(f"control {name}: in the arm {joint.arm} with these bridges no text vectors reach the ID model")
    if name == ONE_VIEW and not joint.llm.shared_encoder:
        raise UserError(f"control {name}: without llm.shared_encoder both sides read the same vectors as it is")
    return [_entry(joint, f"control_{name}", f"control {name}", "control", CONTROLS[name], few)]


def _reads_texts(config: Config) -> bool:
    """Whether a bridge is on that brings the LLM's vectors of the texts to the ID side."""
    bridges = config.bridges
    if config.task == "ctr":
        return bridges.knowledge.enabled
    replaced = bridges.substitution.enabled and bridges.substitution.source == "text"
    return replaced or any(bridge.enabled for bridge in (bridges.knowledge, bridges.neighbours, bridges.smoothing))


def _chosen(controls: Sequence[str]) -> Sequence[str]:
    for name in controls:
        if name != "all" and name not in CONTROLS:
            raise UserError(f"--controls: unknown control {name!r}{nearest(name, ['all', *CONTROLS])}")
    return list(CONTROLS) if "all" in controls else controls


def _joint(arms: Sequence[Arm]) -> Arm:
    """The arm that ablations and controls are made of."""
    joint = [arm for arm in arms if DIRECTIONS[arm]]
    if not joint:
        raise UserError(
            "--arms: ablations and controls are made of an arm with an exchange; add both, llm2id or id2llm"
        )
    return "both" if "both" in joint else joint[-1]
