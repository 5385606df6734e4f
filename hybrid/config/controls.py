"""Settings that break one thing on purpose, to see whether a gain rests on it, and where each of them has a meaning."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hybrid.config.schema import BridgesConfig, Config

PROJECTING = {"knowledge": "llm2id", "store": "id2llm", "collaborative": "id2llm"}
"""Bridges that are a projection from one side's vectors to the other's, and their direction."""


@dataclass(frozen=True)
class ControlsConfig:
    """Controls: one thing is made wrong on purpose; a gain that stays does not come from it. All are off in a run."""

    item_text: Literal["own", "permuted"] = "own"
    """permuted: every item has the text of another one, drawn by the seed."""
    id_states: Literal["own", "permuted"] = "own"
    """permuted: wherever the LLM side reads a user state of the ID model, it is that of another user of the train part,
    drawn by the seed, after as many interactions."""
    id_items: Literal["own", "permuted"] = "own"
    """permuted: wherever the LLM side reads the ID model's item table, the rows are those of other items, drawn by the
    seed."""
    projector: Literal["learned", "random"] = "learned"
    """random: the projections between both sides' vectors (knowledge features, store tokens, collaborative features)
    stay as they were drawn. Bridges without one, such as shared offsets, go on as they are."""
    llm_weights: Literal["pretrained", "random"] = "pretrained"
    """random: a language model of the same shape and tokenizer whose weights are drawn by the seed."""


def check_controls(config: "Config") -> None:
    """Raise ValueError for a control that changes nothing in the config's arm."""
    controls, arm = config.controls, config.arm
    if controls.item_text == "permuted" and arm == "id_only":
        _refuse("item_text=permuted", "the arm id_only reads no text")
    _check_id_side(config)
    _check_teacher(config)
    if controls.projector == "random" and not _projects(config):
        _refuse("projector=random", f"in the arm {arm} of task {config.task} no bridge that is on is a projection")
    if controls.llm_weights == "random" and (arm == "id_only" or config.llm.name == "tiny-random"):
        _refuse("llm_weights=random", f"the arm {arm} with llm.name={config.llm.name} has no pretrained weights")
    if config.llm.item_encoder and not _reads_text_vectors(config):
        raise ValueError(
            "llm.item_encoder gives the vectors of item texts, which the arm id_only, llm.item_pooling=history, and "
            "task ctr without retrieval or bridges.knowledge lack"
        )


def _reads_text_vectors(config: "Config") -> bool:
    if config.task == "ctr":
        retrieves = config.arm != "id_only" and config.llm.click_prompt.selector != "recent"
        return retrieves or (config.bridges.knowledge.enabled and config.arm in ("llm2id", "both"))
    return config.arm != "id_only" and config.llm.item_pooling != "history"


def _projects(config: "Config") -> bool:
    names = {"knowledge"} if config.task == "ctr" else PROJECTING.keys()
    return any(getattr(config.bridges, name).enabled and config.arm in (PROJECTING[name], "both") for name in names)


def _check_teacher(config: "Config") -> None:
    distill, arm = config.bridges.distill, config.arm
    if distill.teacher == "other" or arm in ("id_only", "llm_only"):  # which a comparison has beside the others
        return
    learns = (arm in ("llm2id", "both") and distill.id_weight) or (
        distill.teacher == "self" and arm in ("id2llm", "both") and distill.llm_weight
    )
    if distill.teacher == "self" and (others := _of_what_the_other_learned(config.bridges)):
        raise ValueError(f"bridges.distill.teacher=self lets nothing cross, bridges.{others[0]} does: switch it off")
    if distill.teacher == "peer" and config.train.schedule.llm_length:
        raise ValueError("bridges.distill.teacher=peer has the LLM's place: set train.schedule.llm_length=0")
    if not distill.enabled or not learns or config.task != "ranking":
        raise ValueError(
            f"bridges.distill.teacher={distill.teacher} does not apply: no side learns by distillation in the arm "
            f"{arm} of task {config.task} with these settings of bridges.distill"
        )


def _of_what_the_other_learned(bridges: "BridgesConfig") -> list[str]:
    """Bridges that are on, beside distillation, whose targets or features are made of what the other side learned."""
    switches = {
        "hard_negatives": bridges.hard_negatives.enabled,
        "substitution": bridges.substitution.enabled and bridges.substitution.source == "ranking",
        "sequence_smoothing": bridges.sequence_smoothing.enabled,
        "readback": bridges.readback.enabled,
    }
    return [name for name, is_on in switches.items() if is_on]


def _check_id_side(config: "Config") -> None:
    controls, arm, bridges = config.controls, config.arm, config.bridges
    reads = arm in ("id2llm", "both") and config.task == "ranking"
    if controls.id_states == "permuted":
        if not reads:
            _refuse("id_states=permuted", f"in the arm {arm} of task {config.task} the LLM reads no ID states")
        reading = bridges.mformer.enabled or bridges.lora_gate.enabled or bridges.attended_history.enabled
        reading = reading or _taught(bridges)
        if not reading and not (bridges.store.enabled and bridges.store.user_token):
            _refuse("id_states=permuted", "no bridge that is on reads ID states for the LLM")
    if controls.id_items == "permuted":
        if not reads:
            _refuse("id_items=permuted", f"in the arm {arm} of task {config.task} the LLM reads no ID item table")
        reading = bridges.store.enabled or bridges.collaborative.enabled or bridges.attended_history.enabled
        if not (reading or _taught(bridges)):
            _refuse("id_items=permuted", "no bridge that is on reads the ID item table for the LLM")


def _taught(bridges: "BridgesConfig") -> bool:
    """Whether the LLM learns from the ID model's ranking."""
    distill, negatives = bridges.distill, bridges.hard_negatives
    distils = distill.enabled and distill.llm_weight > 0 and distill.teacher == "other"
    return distils or (negatives.enabled and negatives.llm_weight > 0)


def _refuse(setting: str, reason: str) -> None:
    raise ValueError(f"controls.{setting} does not apply: {reason}")
