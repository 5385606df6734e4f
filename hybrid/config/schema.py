"""Every setting of a run, as frozen dataclasses.

The docstring under each field is its help text: ``hybridrec train --help`` and ``docs/configuration.md`` are made from
it. Values are checked when a config is loaded (`hybrid.config.load`), before data or a model is touched.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from hybrid.config.controls import ControlsConfig, check_controls
from idmodels.click_settings import ClickShape
from idmodels.loss_settings import LossSettings
from idmodels.settings import IDSettings, Precision

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

Arm = Literal["id_only", "llm_only", "id2llm", "llm2id", "both"]
Side = Literal["id", "llm"]
Task = Literal["ranking", "ctr"]


@dataclass(frozen=True)
class DataConfig:
    """Where the interactions come from, and which are kept."""

    dataset: str = "ml-100k"
    """A known name (ml-100k, ml-1m), a folder of RecBole atomic files, or a .inter, .csv or .parquet file."""
    item_file: str = ""
    """File with one row per item and its text, for csv and parquet data; atomic folders bring their own .item file."""
    cache_dir: str = "cache"
    """Folder of prepared datasets, converted language models and item vectors; shared between runs."""
    user_field: str = "user_id"
    """Column of the user id."""
    item_field: str = "item_id"
    """Column of the item id."""
    time_field: str = "timestamp"
    """Column of the time; empty: the order of the rows."""
    time_precision: Literal["exact", "float32", "scaled_float32"] = "exact"
    """How times are compared; the others give RecBole's order, without or with its `normalize_all` (ml-100k has it)."""
    rating_field: str = "rating"
    """Column of the rating; ignored where the file has none."""
    text_fields: tuple[str, ...] = ()
    """Item columns that make up the item text, in this order; empty: title-like, then category-like columns."""
    min_rating: float | None = None
    """Interactions rated lower are dropped; none: all are kept."""
    user_core: NotNegative = 0
    """Users with fewer interactions are dropped, repeatedly, together with rare items (k-core); 0: no filter."""
    item_core: NotNegative = 0
    """Items with fewer interactions are dropped, repeatedly, together with short users (k-core); 0: no filter."""
    split: Literal["auto", "leave_one_out", "gts_last", "global_time"] = "auto"
    """leave_one_out: each user's last item is test, the one before valid; gts_last: one global time split; global_time
    (task ctr): all samples in time order. auto: leave_one_out for ranking, global_time for ctr."""
    valid_share: Share = 0.1
    """Share of the interactions (ctr: samples), by time, in the valid part of gts_last and global_time."""
    test_share: Share = 0.1
    """Share of the interactions (ctr: samples), by time, in the test part of gts_last and global_time."""
    label_threshold: float = 3.0
    """Task ctr: an item is liked where its rating is above this."""
    negatives: NotNegative = 0
    """Task ctr: 0: labels come from ratings; above: every interaction is a click, and so many items that the user never
    had, drawn at random, are not clicked."""
    min_history: NotNegative = 5
    """Task ctr: samples with fewer earlier behaviours of their user are dropped."""
    sample_seed: NotNegative = 0
    """Task ctr: seed of drawn negatives and of the samples that are evaluated; the same for every run."""
    category_field: str = ""
    """Task ctr: item column of the categories that SIM searches by (click.search=hard); empty: the first category-like
    one. Values are cut at "|", else at blanks where the column's type is token_seq."""


@dataclass(frozen=True)
class LoRAConfig:
    """The low-rank adapter of the language model (PEFT): its output is (alpha / R) B M(u) A x."""

    rank: Positive = 8
    """Rank R of the adapter, of each meta-LoRA where gated; a multiple of `experts` where block,
    and R in alpha / R is a block's then."""
    alpha: PositiveFloat = 16.0
    """Scaling of the adapter: its output is multiplied by alpha / rank."""
    dropout: Share = 0.05
    """Dropout on the adapter's input."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of the linear layers that get an adapter."""
    kind: Literal["plain", "gated", "block", "dense"] = "plain"
    """plain: M = 1; gated: meta-LoRAs weighted by the user (RecLoRA); block: the rank cut into blocks weighted by the
    user (iLoRA); dense: M is a matrix made from the user (CFLoRA). The user's vector comes from bridges.lora_gate."""
    experts: Positive = 4
    """Meta-LoRAs of gated, blocks of block."""
    combine: Literal["sum_of_products", "product_of_sums"] = "sum_of_products"
    """Meta-LoRAs merge as `sum_k w_k B_k A_k` or `(sum_k w_k B_k) (sum_k w_k A_k)` (RecLoRA's code)."""
    granularity: Literal["model", "layer", "module"] = "module"
    """What shares one gate or one matrix: the whole model (iLoRA), a layer, or each module has its own (RecLoRA)."""
    gate_width: NotNegative = 60
    """Hidden layer between the user's vector and gate or matrix; 0: none."""
    gate_dropout: Share = 0.1
    """Dropout after it."""
    gate_temperature: PositiveFloat = 1.0
    """Temperature of the gate's softmax; higher: more even weights."""
    gate_top: NotNegative = 0
    """Only this many largest weights of a gate are kept, made to sum to one again; 0: all."""

    def __post_init__(self) -> None:
        if self.kind == "block" and self.rank % self.experts:
            raise ValueError(f"rank {self.rank} must be a multiple of the number of blocks, experts {self.experts}")
        if self.gate_top > self.experts:
            raise ValueError(f"gate_top {self.gate_top} must be at most experts {self.experts}")


@dataclass(frozen=True)
class PromptConfig:
    """What the language model reads."""

    instruction: str = "The user has browsed these items in chronological order:"
    """Text before the history."""
    history_items: Positive = 12
    """Most recent items whose titles are in the prompt."""
    item_tokens: Positive = 12
    """Tokens kept of each item's text."""
    targets_per_prompt: Positive = 8
    """Last history positions of a training prompt that each predict the next item (evaluation uses the last one)."""
    windows_per_user: Positive = 1
    """Training prompts cut from each user's history in one epoch."""
    prefix_tokens: NotNegative = 0
    """Learned tokens at the head of every prompt, the same for all users; only where no bridge fills a prefix."""

    def __post_init__(self) -> None:
        if self.history_items < self.targets_per_prompt:
            raise ValueError(
                f"history_items {self.history_items} must be at least targets_per_prompt {self.targets_per_prompt}: "
                "each target follows an item of the prompt"
            )


@dataclass(frozen=True)
class ClickPromptConfig:
    """What the language model reads of a sample of task ctr: behaviours with what the user thought, then the item."""

    opening: str = "A user has tried these items, oldest first:"
    """Text before the behaviours."""
    behaviours: Positive = 10
    """Behaviours K that are read."""
    selector: Literal["recent", "retrieved"] = "recent"
    """Which of the earlier behaviours are read; recent: the last K; retrieved: the K whose item vectors, by the untuned
    model, are most like the offered item's (ReLLa)."""
    retrieval_width: Positive = 512
    """Principal components of the item vectors, fitted on train items, in which retrieved behaviours are compared."""
    mixed: bool = False
    """With retrieved: train on both versions of each sample, 2N prompts: recent, retrieved, recent, ... (ReLLa)."""
    item_tokens: Positive = 12
    """Tokens kept of each item's text."""
    liked: str = " (liked)"
    """Follows a behaviour that was liked, where labels come from ratings."""
    disliked: str = " (not liked)"
    """Follows a behaviour that was not liked."""
    nothing: str = " nothing yet"
    """Stands for the behaviours of a user without any."""
    offer: str = "\nNow this item is offered:"
    """Text before the item to be judged."""
    question: str = "\nWill the user like it? Yes or No.\nAnswer:"
    """Text after the item."""
    positive: str = " Yes"
    """The answer for a click; quote it in yaml, where a bare Yes is no text."""
    negative: str = " No"
    """The answer for no click."""

    def __post_init__(self) -> None:
        if self.mixed and self.selector == "recent":
            raise ValueError("mixed needs selector retrieved: both versions of a sample would be the recent one")


@dataclass(frozen=True)
class ScorerConfig:
    """How the language model's state becomes a score for every item."""

    kind: Literal["suffix_cosine", "id_head", "candidate_likelihood"] = "suffix_cosine"
    """suffix_cosine: cosine with the LLM's item vectors; id_head: inner product with a table of item weights;
    candidate_likelihood: how likely the LLM, tuned on instructions (see instruct), finds an item's title."""
    width: NotNegative = 128
    """Width of the learned projections of both sides of the cosine; 0: LLM states are compared as they are, or whitened
    by the axes of the item vectors where llm.whiten_width is above 0."""
    temperature: PositiveFloat = 0.07
    """Temperature of the cosine's softmax."""


@dataclass(frozen=True)
class LLMConfig:
    """The language model and its adapter."""

    name: str = "smollm2-135m"
    """smollm2-135m (bundled), tiny-random (for tests), a hub id, a local directory or a .gguf file."""
    revision: str = "main"
    """Revision on the hub."""
    num_layers: NotNegative = 0
    """Keep only this many of the lowest layers; 0: all."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the device computes in it, else float32."""
    tune: Literal["lora", "none"] = "lora"
    """none: the model is frozen and has no adapter; only soft tokens, scorer and bridges learn (Bi-Tuning)."""
    item_pooling: Literal["mean", "suffix", "history"] = "mean"
    """An item's vector: mean of its text's token states, the suffix token's state after the text, or that state after
    the whole prompt of a history of this one item, soft tokens of the bridges included."""
    item_encoder: str = ""
    """Sentence encoder whose vectors of the item texts stand in the place of the LLM's: all-minilm-l6-v2 (a package), a
    hub id or a local directory; empty: the LLM's own."""
    whiten_width: NotNegative = 256
    """Item vectors are reduced to this many whitened principal components; 0: left as they are."""
    encode_tokens: Positive = 32
    """Tokens kept of an item's text when its vector is computed; `history` keeps llm.prompt.item_tokens."""
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    click_prompt: ClickPromptConfig = field(default_factory=ClickPromptConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)


@dataclass(frozen=True)
class StoreConfig:
    """Store tokens: the LLM reads the exchange store's item and user states beside the titles (id2llm, prompt)."""

    enabled: bool = True
    """Switch of the bridge."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the old value kept when a row of the store is written again."""


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
    is and then frozen, or folders of a run or of its exported ID model."""


@dataclass(frozen=True)
class KnowledgeConfig:
    """Knowledge features: LLM item vectors enter the ID item table, folded at export (llm2id, features)."""

    enabled: bool = True
    """Switch of the bridge."""
    projection: Literal["linear", "mlp"] = "linear"
    """Form of the projection W in `e_i = b_i + W z_i`."""
    components: Positive = 256
    """Whitened principal components of the item vectors, z."""


@dataclass(frozen=True)
class ReadBackConfig:
    """Read-back: the LLM's top-layer features are mixed into the shared user and item tables (llm2id, features)."""

    enabled: bool = False
    """Switch of the bridge; items are read back at their store tokens, so that bridge should be on too."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
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
    weighting: Literal["none", "confidence", "agreement"] = "confidence"
    """Weight of a sample: one, the teacher's confidence, or the overlap of both sides' top lists."""


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
    knowledge: KnowledgeConfig = field(default_factory=KnowledgeConfig)
    knowledge_adapter: KnowledgeAdapterConfig = field(default_factory=KnowledgeAdapterConfig)
    readback: ReadBackConfig = field(default_factory=ReadBackConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)


@dataclass(frozen=True)
class ScheduleConfig:
    """Who trains when."""

    rounds: Positive = 3
    """Rounds; in each both sides have one phase."""
    unit: Literal["epochs", "steps"] = "epochs"
    """Unit of the two phase lengths below."""
    id_length: Positive = 5
    """Length of an ID phase."""
    llm_length: NotNegative = 1
    """Length of an LLM phase; 0: the LLM is validated and kept as it is (zero-shot)."""
    first: Side = "id"
    """The side that begins each round."""


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, linear warm-up, then a constant or cosine learning rate, counted in the side's own steps."""

    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate."""
    weight_decay: NotNegativeFloat = 0.0
    """Decoupled weight decay."""
    warmup_steps: NotNegative = 0
    """Steps over which the learning rate rises from zero."""
    decay: Literal["constant", "cosine"] = "constant"
    """What follows the warm-up."""
    clip_norm: NotNegativeFloat = 5.0
    """Largest gradient norm; 0: no clipping."""
    patience: NotNegative = 10
    """Validations without improvement after which the side stops; 0: never."""
    samples: NotNegative = 0
    """Task ctr: train on so many samples, drawn by the seed, more of them include fewer; 0: all."""
    phase_end: Literal["last", "best"] = "last"
    """Weights that the side ends a phase with: those of its last step, or its best so far by validation."""


@dataclass(frozen=True)
class IDTrainConfig(OptimizerConfig):
    """Training of the ID model."""

    batch_targets: Positive = 2048
    """Targets (next items) in a batch, not rows."""
    precision: Precision = "auto"
    """Of the ID model's products while it trains; auto: bfloat16 where the device has it, else float32."""
    loss: LossSettings = field(default_factory=LossSettings)


@dataclass(frozen=True)
class LLMTrainConfig(OptimizerConfig):
    """Training of the language model."""

    learning_rate: PositiveFloat = 5e-4
    """Peak learning rate."""
    batch_prompts: Positive = 16
    """Prompts in a batch."""
    encode_items: Literal["phase", "epoch"] = "phase"
    """Items are encoded again with the weights of the moment: after each LLM phase, or before each LLM epoch too."""
    fixed_epochs: NotNegative = 0
    """The run's last LLM epochs that start from the best weights before them, and whose item vectors stay as they were
    with those (Laser's second stage); stopping early leaves them out."""


@dataclass(frozen=True)
class TrainConfig:
    """Training of both sides."""

    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    id: IDTrainConfig = field(default_factory=IDTrainConfig)
    llm: LLMTrainConfig = field(default_factory=LLMTrainConfig)
    safeguard: bool = True
    """Rankings where the LLM teaches the ID side: a plain ID model is trained first, and kept as the best where the ID
    side never beats it on validation."""
    safeguard_patience: NotNegative = 5
    """Validations in a row in which the ID side is below the plain one of the same epoch, after which the LLM's losses
    reach it no more; 0: never."""
    checkpoint_steps: NotNegative = 200
    """Steps between checkpoints inside a phase; phases end with one anyway. 0: only there."""
    log_steps: Positive = 10
    """Steps between training scalars in TensorBoard."""

    def __post_init__(self) -> None:
        epochs = self.schedule.rounds * self.schedule.llm_length
        if self.llm.fixed_epochs and (self.schedule.unit != "epochs" or self.llm.fixed_epochs >= epochs):
            raise ValueError(
                f"llm.fixed_epochs {self.llm.fixed_epochs} must be fewer than the LLM side's {epochs} epochs "
                f"(rounds * llm_length, in a schedule whose unit is epochs): they go on from the best of those before"
            )


@dataclass(frozen=True)
class EvaluationConfig:
    """How rankings are measured."""

    metric: Annotated[str, Field(pattern=r"^(hr|ndcg|mrr)@(5|10|20)$")] = "ndcg@10"
    """Validation metric that picks the best model of each side."""
    mask_history: bool = True
    """Leave out the items the user already has (RecBole's sequential evaluation does not)."""
    batch_users: Positive = 256
    """Users ranked at once."""
    batch_items: Positive = 16384
    """Items scored at once; bounds the memory whatever the catalogue's size."""
    llm_valid_users: NotNegative = 0
    """The LLM side validates on this many users, drawn once by the seed; 0: all."""
    llm_batch_prompts: Positive = 32
    """Prompts encoded at once outside training."""
    ctr_metric: Literal["auc", "uauc"] = "auc"
    """Task ctr: validation metric that picks the best model of each side."""
    ctr_samples: NotNegative = 0
    """Task ctr: both sides are evaluated on so many samples of a part, drawn by `data.sample_seed`; 0: all."""
    untrained: bool = True
    """Validate and evaluate a side that is not trained (zero-shot); off: it only gives the other side knowledge."""
    bootstrap: NotNegative = 1000
    """Redraws behind the 95 % intervals of `evaluate` (task ctr) and `compare` (rankings); 0: no intervals."""


InstructTask = Literal["choice", "next_item", "preference", "rating", "category"]


@dataclass(frozen=True)
class MixtureConfig:
    """How the domain-general and the domain-specific adapter become one (MoLoRec)."""

    merge: Literal["ab", "delta"] = "ab"
    """ab: the A's and the B's are mixed apart (the paper's equations); delta: the products are (its code)."""
    granularity: Literal["model", "layer", "module"] = "model"
    """What shares one pair of weights: the whole model (the paper), a layer, or each module has its own (its code)."""
    weights: Literal["entropy", "grid", "fixed"] = "entropy"
    """entropy: least entropy of the answers to unlabelled prompts; grid: best validation; fixed: as given."""
    general_weight: Share = 0.5
    """Weight of the general adapter where fixed; the specific one has the rest."""
    source: Literal["valid", "test"] = "valid"
    """Whose prompts, without their answers, the entropy is taken over; test: at evaluation (transductive)."""
    prompts: Positive = 50
    """Unlabelled prompts."""
    answer_tokens: Positive = 3
    """First answer tokens whose entropy counts."""
    steps: Positive = 20
    """Adam steps on the mixture's weights; each takes `batch_prompts` of the prompts in turn."""
    batch_prompts: Positive = 10
    """Prompts in such a step."""
    learning_rate: PositiveFloat = 0.1
    """Learning rate of these steps."""
    grid_points: Annotated[int, Field(ge=2)] = 11
    """Weights tried by grid, from 0 to 1."""


@dataclass(frozen=True)
class InstructConfig:
    """Instruction tuning on several domains; used with llm.scorer.kind=candidate_likelihood."""

    general_datasets: tuple[str, ...] = ()
    """Datasets that the domain-general adapter is trained on, named as in data.dataset."""
    general_dir: str = ""
    """PEFT directory of the domain-general adapter: loaded if it is there, else trained and written there; empty:
    in the run directory."""
    tasks: tuple[InstructTask, ...] = ("choice", "next_item", "preference", "rating", "category")
    """Kinds of questions: next item among candidates, next item without, which of two, its rating, its category."""
    general_examples: Positive = 2000
    """Examples drawn from each general domain."""
    specific_examples: Positive = 2000
    """Examples drawn from the run's own domain."""
    general_epochs: Positive = 2
    """Epochs of the domain-general adapter."""
    specific_epochs: Positive = 4
    """Epochs of the domain-specific adapter."""
    candidates: Annotated[int, Field(ge=2)] = 30
    """Candidates of a choice: the true next item and random others."""
    list_candidates: bool = True
    """Candidates stand in the prompt when they are ranked (the paper); no: only the history does."""
    normalise: bool = True
    """Likelihood of a title per token; no: of the whole title, which prefers short ones."""
    valid_users: Positive = 200
    """Users ranked at validation, drawn once by the seed."""
    test_users: NotNegative = 0
    """Users ranked by `evaluate`, drawn once by the seed; 0: all."""
    catalogue_users: NotNegative = 20
    """Users whose whole catalogue `evaluate` ranks too, by title likelihood after the history alone; 0: none."""
    references: tuple[str, ...] = ()
    """Folders of runs or exported ID models that `evaluate` ranks the same candidates with, for comparison."""
    mixture: MixtureConfig = field(default_factory=MixtureConfig)


@dataclass(frozen=True)
class Config:
    """A whole run."""

    name: str = "run"
    """Name of the run; its directory is `output_dir/name`."""
    output_dir: str = "runs"
    """Folder of the run directories."""
    task: Task = "ranking"
    """ranking: the next item among all; ctr: whether a user likes (clicks) one item. `id.model` may then
    also be dcnv2, deepfm, din, sim, or recbole:NAME of a context-aware or sequential model."""
    arm: Arm = "both"
    """id_only, llm_only: one side alone; id2llm, llm2id: one direction; both: the exchange goes both ways."""
    seed: NotNegative = 1
    """Seed of everything random."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: NotNegative = 0
    """CPU threads; 0: torch's choice."""
    data: DataConfig = field(default_factory=DataConfig)
    id: IDSettings = field(default_factory=IDSettings)
    click: ClickShape = field(default_factory=ClickShape)
    llm: LLMConfig = field(default_factory=LLMConfig)
    instruct: InstructConfig = field(default_factory=InstructConfig)
    bridges: BridgesConfig = field(default_factory=BridgesConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    controls: ControlsConfig = field(default_factory=ControlsConfig)

    def __post_init__(self) -> None:
        fitting = ("global_time",) if self.task == "ctr" else ("leave_one_out", "gts_last")
        if self.data.split not in ("auto", *fitting):
            raise ValueError(
                f"task={self.task} cannot use data.split={self.data.split}; accepted: {', '.join(('auto', *fitting))}"
            )
        check_controls(self)
        self._check_knowledge()
        self._check_likelihood()
        if self.task == "ctr":
            self._check_clicks()

    def _check_knowledge(self) -> None:
        adapter = self.bridges.knowledge_adapter
        if adapter.enabled and self.task == "ctr" and adapter.history_items > self.data.min_history:
            raise ValueError(
                f"bridges.knowledge_adapter.history_items {adapter.history_items} must be at most data.min_history "
                f"{self.data.min_history}: later behaviours are targets, whose labels knowledge must not tell"
            )

    def _check_clicks(self) -> None:
        if self.train.id.loss != LossSettings():
            raise ValueError(
                "train.id.loss has no effect with task=ctr: click models learn by binary cross-entropy; leave it out"
            )
        if self.llm.tune == "none" and self.arm != "id_only" and self.train.schedule.llm_length:
            raise ValueError(
                "llm.tune=none leaves the LLM nothing to train with task=ctr; set train.schedule.llm_length=0 "
                "(the LLM as it came) or llm.tune=lora"
            )

    def _check_likelihood(self) -> None:
        if self.llm.scorer.kind == "candidate_likelihood":
            if self.arm != "llm_only" or self.task != "ranking":
                raise ValueError(
                    "llm.scorer.kind=candidate_likelihood ranks by text, so there are no states to exchange; "
                    "set arm=llm_only (and task=ranking)"
                )
            if self.llm.tune != "lora" or self.llm.lora.kind != "plain":
                raise ValueError("llm.scorer.kind=candidate_likelihood needs llm.tune=lora and llm.lora.kind=plain")
