"""Settings of the bridges."""

from dataclasses import dataclass, field
from typing import Literal

from hybrid.config.kinds import Decay, NotNegative, NotNegativeFloat, Positive, PositiveFloat, Share


@dataclass(frozen=True)
class StoreConfig:
    """Store tokens: the LLM reads the exchange store's item and user states beside the titles (id2llm, prompt)."""

    enabled: bool = True
    """Switch of the bridge."""
    momentum: Decay = 0.5
    """Share of the old value kept when a row of the store is written again."""
    user_token: bool = True
    """Whether the user's state is read too, as of before a prompt's first target: of many targets in a prompt, only
    the first then sees it as it will be when users are ranked for."""


@dataclass(frozen=True)
class MFormerConfig:
    """M-Former: query experts read the ID model's states and write the LLM's prefix (id2llm, prompt)."""

    enabled: bool = True
    """Switch of the bridge."""
    experts: Positive = 4
    """Query experts E; each sample is routed to one."""
    queries: Positive = 4
    """Query tokens Q of an expert, the length of the prefix."""
    width: Positive = 128
    """Inner width."""
    blocks: Positive = 2
    """Blocks; every second one has cross-attention, the first included."""
    heads: Positive = 4
    """Attention heads."""
    gate: bool = True
    """Multiply the chosen expert by its router share, so that the router learns from the task (the paper: no)."""
    balance_weight: NotNegativeFloat = 0.01
    """Weight of the load-balancing loss."""
    sources: tuple[str, ...] = ()
    """ID models read beside the run's own: names in the registry, each trained before the first round as the run's own
    is and then frozen, or folders of a run or of its exported ID model, which must stay where they are: resuming and
    evaluating the run read them again."""


@dataclass(frozen=True)
class KnowledgeConfig:
    """Knowledge features: LLM item vectors enter the ID item table, folded at export (llm2id, features)."""

    enabled: bool = True
    """Switch of the bridge."""
    projection: Literal["linear", "mlp", "gated"] = "linear"
    """Form of the projection W in `e_i = b_i + W z_i`; gated: W z_i times a sigmoid of another projection."""
    components: Positive = 256
    """Whitened principal components of the item vectors, z."""


@dataclass(frozen=True)
class AttendedHistoryConfig:
    """Attended history: of what is older than the last llm.prompt.targets_per_prompt items, the LLM reads the items
    that the ID model's state attends to, not the newest (id2llm, data)."""

    enabled: bool = False
    """Switch of the bridge."""


@dataclass(frozen=True)
class CollaborativeConfig:
    """Collaborative features: the ID item table enters the LLM's item vectors, by which items are scored (id2llm,
    features)."""

    enabled: bool = False
    """Switch of the bridge."""


@dataclass(frozen=True)
class ReadBackConfig:
    """Read-back: the LLM's top-layer features are mixed into the shared user and item tables (llm2id, features)."""

    enabled: bool = False
    """Switch of the bridge; items are read back at their store tokens, so that bridge should be on too."""
    momentum: Decay = 0.9
    """Share of a table's row that is kept when the LLM's vector is mixed into it."""
    align_weight: NotNegativeFloat = 0.1
    """Weight, in the LLM's loss, of the distance of what is read back from the tables."""
    pull_weight: NotNegativeFloat = 0.0
    """Weight, in the ID model's loss, of the distance of its states and item vectors from the tables."""


@dataclass(frozen=True)
class SmoothingConfig:
    """Smoothed targets: the ID model learns a little of the items whose text is near the next one (llm2id, targets)."""

    enabled: bool = False
    """Switch of the bridge."""
    weight: Share = 0.2
    """Share of the target distribution that goes to the neighbours."""
    neighbours: Positive = 20
    """Neighbours of an item."""
    temperature: PositiveFloat = 0.05
    """Temperature of the softmax over the neighbours' cosines."""
    components: Positive = 256
    """Whitened principal components of the item vectors in which neighbours are found."""


@dataclass(frozen=True)
class SequenceSmoothingConfig:
    """Targets smoothed by sequences: the ID model learns a little of what followed histories that the LLM finds like
    the user's (llm2id, targets)."""

    enabled: bool = False
    """Switch of the bridge."""
    weight: Share = 0.2
    """Share of the target distribution that goes to the items that came next there."""
    neighbours: Positive = 20
    """Nearest states of other users that vote, each for the item that came next."""
    temperature: PositiveFloat = 0.05
    """Temperature of the softmax over their cosines."""


@dataclass(frozen=True)
class NeighboursConfig:
    """Shared offsets: in the ID item table an item has a part in what its nearest by text have learned (llm2id,
    features)."""

    enabled: bool = False
    """Switch of the bridge."""
    weight: NotNegativeFloat = 0.5
    """How much of the neighbours' mean own vector is added to an item's own."""
    rarity: NotNegativeFloat = 0.0
    """k: an item with n train interactions takes k / (k + n) of that, so that frequent ones keep to themselves; 0: all
    of it."""
    neighbours: Positive = 20
    """Neighbours of an item."""
    temperature: PositiveFloat = 0.05
    """Temperature of the softmax over the neighbours' cosines."""
    components: Positive = 256
    """Whitened principal components of the item vectors in which neighbours are found."""


@dataclass(frozen=True)
class DistillConfig:
    """Mutual distillation: each side learns from the other's ranking, which it sees as constant (both, targets)."""

    enabled: bool = True
    """Switch of the bridge."""
    id_weight: NotNegativeFloat = 0.3
    """Weight of the loss on the ID side."""
    llm_weight: NotNegativeFloat = 0.3
    """Weight of the loss on the LLM side."""
    temperature: PositiveFloat = 2.0
    """Both distributions are softened by it; the loss is multiplied by its square."""
    candidates: Positive = 200
    """Candidate list: the target, the teacher's top and as many random items again; the whole catalogue if small."""
    positions: NotNegative = 0
    """Positions of a batch that learn from the teacher, drawn anew each time; 0: all that it has a state for."""
    llm_from_round: Positive = 1
    """Round from which the LLM learns so; before it, it learns from labels alone and is less like the ID model, which
    makes it another teacher."""
    weight_by: Literal["setting", "blend"] = "setting"
    """blend: either weight is multiplied by min(1, 2 s), s the teacher's share in that blend of both rankings which is
    best on validation, found before each phase once both sides have learned: who adds nothing does not teach.
    Only with teacher=other."""
    weighting: Literal["none", "confidence", "agreement"] = "confidence"
    """Weight of a sample: one, the teacher's confidence, or the overlap of both sides' top lists."""
    teacher: Literal["other", "self", "peer"] = "other"
    """self: each side learns from its own ranking as it was after its last phase; a control: of what the other side
    learned nothing crosses then, but in vectors of texts that a tuned LLM writes (llm.prompt.items=titles).
    (The ID model knows its states at all positions, the LLM at each user's last llm.prompt.targets_per_prompt.)
    peer: after its first phase the ID side learns from another plain ID model, trained beside with another seed, in the
    place of an LLM that has no turns; a control: whether any second model would do."""


@dataclass(frozen=True)
class HardNegativesConfig:
    """Hard negatives: items that the other side ranks high, but not highest, must lose to the next item (both,
    targets)."""

    enabled: bool = False
    """Switch of the bridge."""
    id_weight: NotNegativeFloat = 0.1
    """Weight of the loss on the ID side."""
    llm_weight: NotNegativeFloat = 0.1
    """Weight of the loss on the LLM side."""
    first: Positive = 21
    """Place in the other side's ranking, counted from 1, that the negatives begin with; those above may be liked."""
    last: Positive = 100
    """The last such place."""
    positions: NotNegative = 512
    """Positions of a batch that have this loss, drawn anew each time; 0: all that the other side has a state for."""

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"first {self.first} must be at most last {self.last}")


@dataclass(frozen=True)
class SubstitutionConfig:
    """Substitutions: while the ID model learns, items of its histories give way to items whose text is near, or to
    items that the LLM ranks high in their place (llm2id, data)."""

    enabled: bool = False
    """Switch of the bridge."""
    source: Literal["text", "ranking"] = "text"
    """text: an item gives way to one of its neighbours by text; ranking: to one that the LLM ranked high for the user
    just before it was chosen, none of them the user's own in that training row. The LLM's rankings are known as of
    the end of its last phase, at each user's last llm.prompt.targets_per_prompt positions: before its first phase
    nothing is replaced, and older items never are. (With bridges.distill.teacher=peer the rankings are the peer's.)"""
    share: Share = 0.2
    """Share of the history items that are replaced, drawn anew in every batch; of those that have substitutes."""
    longest: NotNegative = 0
    """Only in training rows of at most so many items (long histories are cut into rows); 0: in all."""
    neighbours: Positive = 20
    """Neighbours of an item, or first places of the LLM's ranking, from which one is drawn."""
    temperature: PositiveFloat = 0.05
    """Temperature of the softmax over the neighbours' cosines, or over those of the LLM's user state and the items."""
    components: Positive = 256
    """Whitened principal components of the item vectors in which neighbours are found; only with source=text."""


@dataclass(frozen=True)
class KnowledgeAdapterConfig:
    """Written knowledge: what the untuned LLM writes about users and items becomes features of the click model,
    through a mixture of experts (task ctr; llm2id, features)."""

    enabled: bool = False
    """Switch of the bridge."""
    user_request: str = (
        "Someone {history}. In two sentences: what kind of thing does this person like, and what not? Consider genre, "
        "theme, mood and period."
    )
    """What the LLM is asked about a user; {history} is replaced by its first behaviours."""
    item_request: str = "In two sentences, describe {item}: its genre, theme, mood and period, and who enjoys it."
    """What the LLM is asked about an item; {item} is replaced by its text."""
    history_items: Positive = 5
    """First train behaviours of a user that are named; at most data.min_history, so that they are nobody's target."""
    new_tokens: Positive = 48
    """Most tokens of an answer."""
    encode_tokens: Positive = 96
    """Tokens kept of a text when its vector is computed."""
    components: Positive = 128
    """Whitened principal components of the vectors that the experts read."""
    shared_experts: NotNegative = 2
    """Experts that users and items share."""
    specific_experts: NotNegative = 5
    """Experts of users alone, and as many of items alone."""
    hidden: Positive = 128
    """Hidden width of an expert."""
    width: Positive = 32
    """Features of a user, and as many of an item."""

    def __post_init__(self) -> None:
        for name, slot in (("user_request", "{history}"), ("item_request", "{item}")):
            if slot not in getattr(self, name):
                raise ValueError(f"{name} must contain {slot}")
        if not self.shared_experts + self.specific_experts:
            raise ValueError("shared_experts and specific_experts are both 0; one expert is needed")


@dataclass(frozen=True)
class LoraGateConfig:
    """Adapter gate: the ID model's user state is what the LLM's adapter depends on (id2llm, weights)."""

    enabled: bool = False
    """Switch of the bridge; without it an adapter of kind gated or block has even weights, a dense one is plain."""


@dataclass(frozen=True)
class BridgesConfig:
    """What crosses between the two sides."""

    store: StoreConfig = field(default_factory=StoreConfig)
    mformer: MFormerConfig = field(default_factory=MFormerConfig)
    lora_gate: LoraGateConfig = field(default_factory=LoraGateConfig)
    attended_history: AttendedHistoryConfig = field(default_factory=AttendedHistoryConfig)
    collaborative: CollaborativeConfig = field(default_factory=CollaborativeConfig)
    knowledge: KnowledgeConfig = field(default_factory=KnowledgeConfig)
    neighbours: NeighboursConfig = field(default_factory=NeighboursConfig)
    knowledge_adapter: KnowledgeAdapterConfig = field(default_factory=KnowledgeAdapterConfig)
    readback: ReadBackConfig = field(default_factory=ReadBackConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    sequence_smoothing: SequenceSmoothingConfig = field(default_factory=SequenceSmoothingConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    substitution: SubstitutionConfig = field(default_factory=SubstitutionConfig)
    hard_negatives: HardNegativesConfig = field(default_factory=HardNegativesConfig)
