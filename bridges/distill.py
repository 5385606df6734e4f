"""Mutual distillation: each side learns from the other's ranking, which it sees as constant.

Deep mutual learning (arXiv 1706.00384) in BDLM's alternating form: ``KL(teacher || student) T^2`` over a candidate
list, at the positions for which the other side has written a user state. A position may be weighted by the teacher's
confidence or by the agreement of both sides' top lists. A learner may also be its own teacher, as it was after its last
phase (born-again networks, arXiv 1805.04770): what that gives does not come from the other side. A peer stands in the
store in the other side's place.
"""

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from bridges.agreement import overlap_shares
from bridges.candidates import Candidates, draw_candidates
from bridges.errors import BridgeError, nearest
from bridges.lessons import Lesson, LessonBridge
from bridges.protocols import ScoredBatch, Side
from bridges.running import RunningMeans
from bridges.sharing import ExchangeStore

Weighting = Literal["none", "confidence", "agreement"]
Teacher = Literal["other", "self", "peer"]
WeightBy = Literal["setting", "blend"]

LEARNERS: tuple[Side, ...] = ("id", "llm")
TOP_K = 10
"""Length of the top lists whose overlap is the agreement."""
MEASURED_POSITIONS = 64
"""Positions of a batch on which the agreement is measured where no weight needs it for all."""


class MutualDistillation(LessonBridge):
    """Has no parameters; ``id_weight`` and ``llm_weight`` are the weights of its loss on either learner.

    ``llm_from_round``: before it the LLM is not taught, so that the ID model learns from one that is not like it.
    ``positions`` bounds how many positions of a batch learn from the teacher (0: all), and so what a step costs: the
    loss of a random draw has the same expectation. With ``weight_by`` blend the weights are multiplied by what
    `weigh` is told, where the teacher is the other side.
    Raises BridgeError where both sides' catalogues differ in size.
    """

    name: ClassVar[str] = "distill"
    shares: Tensor
    """[2] of `LEARNERS`; only where they are weighed."""

    def __init__(
        self,
        store: ExchangeStore,
        id_weight: float,
        llm_weight: float,
        temperature: float,
        candidates: int,
        weighting: Weighting,
        teacher: Teacher = "other",
        positions: int = 0,
        llm_from_round: int = 1,
        weight_by: WeightBy = "setting",
    ) -> None:
        if teacher not in get_args(Teacher):
            raise BridgeError(f"distill: unknown teacher {teacher!r}{nearest(teacher, get_args(Teacher))}")
        if weighting not in get_args(Weighting):
            raise BridgeError(f"distill: unknown weighting {weighting!r}{nearest(weighting, get_args(Weighting))}")
        if temperature <= 0 or candidates < 1 or positions < 0:
            raise BridgeError(
                f"distill: temperature {temperature} and candidates {candidates} must be positive, "
                f"positions {positions} not negative"
            )
        sides: dict[Side, Side] = {"id": "id", "llm": "llm"} if teacher == "self" else {"id": "llm", "llm": "id"}
        super().__init__(store, {"id": id_weight, "llm": llm_weight}, sides, positions)
        self.temperature = temperature
        self.candidates = candidates
        self.weighting = weighting
        self.llm_from_round, self._round = llm_from_round, 1
        self.weighed = weight_by == "blend" and teacher == "other"
        if self.weighed:
            self.register_buffer("shares", torch.ones(len(LEARNERS)))
        means = ["kl_id", "kl_llm", "weight_mean", "agreement"]
        self._means = RunningMeans([*means, *(["share_id", "share_llm"] if self.weighed else [])])

    def begin_round(self, number: int) -> None:
        """See `Bridge`."""
        self._round = number

    def weigh(self, id_share: float) -> None:
        """Multiply both weights by what is to be learned, where both rankings blend best with ``id_share`` of the ID's.

        ``min(1, 2 s)``, s the teacher's share in the blend: all of the weight where the teacher adds as much as the
        learner itself, nothing where it adds nothing.
        """
        self.shares.copy_((2 * torch.tensor([1 - id_share, id_share])).clamp(max=1.0))

    def loss(self, learner: Side, batch: ScoredBatch) -> Tensor | None:
        """Mean over (drawn) positions that the teacher has a state for; None: none, no weight, no share, too early."""
        early = learner == "llm" and self._round < self.llm_from_round
        share = self._share(learner)
        lesson = None if early or not share else self.lesson(learner, batch)
        if lesson is None:
            return None
        # Differences of logits decide here: bfloat16 would lose them.
        with torch.autocast(batch.states.device.type, enabled=False):
            losses = self._weighted_kl(learner, lesson)
        return self.weights[learner] * share * losses.mean()

    def _share(self, learner: Side) -> float:
        """What the learner's weight is multiplied by."""
        if not self.weighed:
            return 1.0
        share = self.shares[LEARNERS.index(learner)]
        self._means.add(f"share_{learner}", share)
        return float(share)

    def metrics(self) -> dict[str, float]:
        """Mean KL of each learner (at T, before T^2 and weights), mean weight, mean overlap of both top 10, shares."""
        return self._means.take()

    def _weighted_kl(self, learner: Side, lesson: Lesson) -> Tensor:
        student, states, items = lesson.student, lesson.states, lesson.items
        lists = draw_candidates(states, items, student.targets, self.candidates)
        teacher_logits = lists.logits(states, items)  # [M, C]
        student_logits = lists.logits(student.states, student.item_matrix)
        divergence = kl_divergence(teacher_logits, student_logits, self.temperature)  # [M]
        weights = self._weights(lesson, lists, teacher_logits)
        self._means.add(f"kl_{learner}", divergence)
        self._means.add("weight_mean", weights)
        return weights * divergence * self.temperature**2

    @torch.no_grad()
    def _weights(self, lesson: Lesson, lists: Candidates, teacher_logits: Tensor) -> Tensor:
        student, states, items = lesson.student, lesson.states, lesson.items
        measured = len(states) if self.weighting == "agreement" else MEASURED_POSITIONS
        shares = overlap_shares(student.states[:measured], student.item_matrix, states[:measured], items, TOP_K)
        self._means.add("agreement", shares)
        if self.weighting == "agreement":
            return shares
        return (
            confidence(teacher_logits, lists.sizes())
            if self.weighting == "confidence"
            else states.new_ones(len(states))
        )


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """``KL(teacher || student)`` of the softmax at ``temperature``, per row of [M, C]: [M]; the teacher is constant."""
    teacher = (teacher_logits.detach() / temperature).log_softmax(dim=-1)
    student = (student_logits / temperature).log_softmax(dim=-1)
    return (teacher.exp() * (teacher - student)).sum(dim=-1)


def confidence(logits: Tensor, sizes: Tensor) -> Tensor:
    """``1 - entropy / log C`` of the softmax of each row of [M, C], C = ``sizes`` [M]: 0 uniform, 1 certain."""
    entropy = torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)
    return (1 - entropy / sizes.clamp_min(2).log()).clamp(0, 1)
