"""Settings of the language model, its adapter, prompts and scorer."""

from dataclasses import dataclass, field
from typing import Literal

from hybrid.config.kinds import NotNegative, Positive, PositiveFloat, Share


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
    items: Literal["titles", "vectors"] = "titles"
    """How an item is read; titles: its text; vectors: one soft token, made by a learned map from the vector of its text
    (HLLM, arXiv 2409.12740): tens of times fewer tokens."""
    vector_dropout: Share = 0.2
    """Dropout on the soft tokens of items that are read as vectors, and on the states that they are scored by."""
    history_items: Positive = 12
    """Most recent items that are in the prompt."""
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
    item_layers: Literal["kept", "all"] = "kept"
    """Layers that make the item vectors; kept: the model's own num_layers; all: those of the whole untuned model, read
    once (and kept in the cache), where the vectors do not follow its tuning: prompt.items=vectors or tune=none."""
    item_encoder: str = ""
    """Sentence encoder whose vectors of the item texts stand in the place of the LLM's: all-minilm-l6-v2 (a package), a
    hub id or a local directory; bag-of-words: counts of words (tf-idf and its principal directions), which nobody has
    read; empty: the LLM's own."""
    shared_encoder: str = ""
    """As item_encoder, but of the vectors that the bridges of texts (knowledge, neighbours, smoothing, substitution by
    text) bring to the ID model; the LLM goes on reading its own. So either side may know what the other has to learn.
    Empty: both read the same."""
    whiten_width: NotNegative = 256
    """Item vectors are reduced to this many whitened principal components; 0: left as they are."""
    encode_tokens: Positive = 32
    """Tokens kept of an item's text when its vector is computed; `history` keeps llm.prompt.item_tokens."""
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    click_prompt: ClickPromptConfig = field(default_factory=ClickPromptConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)

    def __post_init__(self) -> None:
        if self.item_layers == "kept":
            return
        if self.prompt.items != "vectors" and self.tune != "none":
            raise ValueError(
                "item_layers=all takes the untuned model's vectors, and here they follow its tuning; "
                "set prompt.items=vectors or tune=none"
            )
        if self.item_pooling != "mean" or self.item_encoder:
            raise ValueError("item_layers=all needs item_pooling=mean and no item_encoder")
