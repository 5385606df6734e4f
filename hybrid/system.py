"""Everything a run is made of: data, both sides, and the exchange between them."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from hybrid.checkpoint_files import load_tensors, save_tensors
from hybrid.config.llm_settings import LLMConfig, PromptConfig, ScorerConfig
from hybrid.config.schema import Config, DataConfig
from hybrid.controls import OtherUsers, other_items
from hybrid.data.sources import find_source
from hybrid.data.split import TrainingData
from hybrid.errors import UserError
from hybrid.exchange import SIDES, Exchange, create_exchange, prefix_width
from hybrid.id_models import new_id_model
from hybrid.item_histories import encode_histories
from hybrid.llm.backbone import Backbone, load_backbone
from hybrid.llm.item_vectors import Encoding, encode_items
from hybrid.llm.prompt_batches import PromptBatches
from hybrid.llm.prompts import PromptBuilder
from hybrid.llm.recommender import LLMRecommender
from hybrid.llm.scorers import IdHead, SuffixCosine
from hybrid.llm.sentence_encoder import encode_sentences
from hybrid.llm.word_vectors import BAG_OF_WORDS, count_words
from hybrid.sources import Source, create_sources
from idmodels.contract import IDModel

ID, LLM, BRIDGES, STORE = "id.safetensors", "llm", "bridges.safetensors", "store.safetensors"
SOURCE = "source_{}.safetensors"


@dataclass(kw_only=True)
class BaseSystem(ABC):
    """The models of one arm and what lies between them; a side that the arm does not train is None."""

    config: Config
    device: torch.device
    id_model: nn.Module | None
    recommender: LLMRecommender | None
    exchange: Exchange
    sources: list[Source] = field(default_factory=list)
    """Further ID models whose states the LLM reads; they never have a turn."""
    _fixed_vectors: Tensor | None = None
    """The text vectors where they stay as they are: encoded once, as it may take a model of its own."""

    def need_llm(self) -> LLMRecommender:
        """The LLM recommender of an arm that has one."""
        assert self.recommender is not None
        return self.recommender

    @property
    def texts_fixed(self) -> bool:
        """Whether the vectors of the texts that the bridges read stay as they are: nothing that makes them is tuned."""
        another = bool(self.config.llm.shared_encoder) and self.exchange.reads("llm", "text")
        return another or self._own_texts_fixed

    @property
    def _own_texts_fixed(self) -> bool:
        llm = self.config.llm
        if llm.item_encoder:
            return llm.item_pooling != "history"
        return llm.item_pooling == "mean" and (llm.prompt.items == "vectors" or llm.tune == "none")

    @property
    @abstractmethod
    def texts(self) -> Sequence[str]:
        """What the LLM may know of the items, [N]."""

    @property
    def writes_knowledge(self) -> bool:
        """Whether the untuned LLM writes down what it knows, which `encode_items` has it do before anything trains."""
        return False

    def text_vectors(self) -> Tensor:
        """Vectors of the item texts by the LLM, [N, H]; by the untuned one where it never reads texts."""
        if self._fixed_vectors is not None:
            return self._fixed_vectors
        vectors = text_vectors(self.config, self.need_llm(), self.texts)
        if self._own_texts_fixed:
            self._fixed_vectors = vectors
        return vectors

    def _shared_vectors(self, own: Tensor | None) -> Tensor:
        """Vectors that the bridges to the ID side read, [N, H]: another encoder's or the LLM's, ``own`` where known."""
        if encoder := self.config.llm.shared_encoder:
            return encoder_vectors(encoder, self.config, self.need_llm(), self.texts)
        return self.item_vectors() if own is None else own

    def item_vectors(self) -> Tensor:
        """Vectors of the items by the LLM as it is now, [N, H]: what they are scored by."""
        return self.text_vectors()

    @abstractmethod
    def start_head(self) -> None:
        """Called before the LLM's first step: what it may start from of the ID side."""

    def encode_items(self, step: int) -> None:
        """Encode the item texts with the LLM as it is now; for its scorer, and for the store where a bridge reads it.

        The untuned LLM encodes the same texts once; later runs read its vectors from the cache. Items as histories have
        no cache: their prompts hold what the bridges make of them.
        """
        recommender, store = self.need_llm(), self.exchange.store
        if recommender.reader is not None and not recommender.reader.ready:
            recommender.reader.set_vectors(self.text_vectors().to(self.device))
        own: Tensor | None = None
        if isinstance(recommender.scorer, SuffixCosine):
            own = self.item_vectors()
            recommender.scorer.set_item_vectors(own.to(self.device))
        if self.exchange.reads("llm", "text") and not (self.texts_fixed and store.has("llm", "text")):
            store.write("llm", "text", self._shared_vectors(own), step=step, fingerprint=self.exchange.fingerprint)

    def serving_parameters(self) -> int:
        """Weights that answering with the LLM side needs: the model, what its prompts read, the scorer."""
        assert self.recommender is not None
        modules = [self.recommender, *self.exchange.modules("llm")]
        if self.exchange.reads_id_states() and self.id_model is not None:
            modules += [self.id_model, *self.exchange.others]
        return sum(weight.numel() for module in modules for weight in module.parameters())

    def save(self, directory: Path) -> None:
        """Write both models, the bridges and the store into an existing directory."""
        if self.id_model is not None:
            save_tensors(directory / ID, self.id_model.state_dict())
        for number, source in enumerate(self.sources):
            save_tensors(directory / SOURCE.format(number), source.model.state_dict())
        if self.recommender is not None:
            self.recommender.save(directory / LLM)
        save_tensors(directory / BRIDGES, self.exchange.bridge_state())
        state = self.exchange.store.state_dict()
        save_tensors(directory / STORE, state["tensors"], state["metadata"])

    def load(self, directory: Path) -> None:
        """Load what `save` wrote; UserError where it does not fit this run."""
        if self.id_model is not None:
            tensors, _ = load_tensors(directory / ID)
            self.id_model.load_state_dict(tensors)
        for number, source in enumerate(self.sources):
            tensors, _ = load_tensors(directory / SOURCE.format(number))
            source.model.load_state_dict(tensors)
        if self.recommender is not None:
            self.recommender.load(directory / LLM)
        tensors, _ = load_tensors(directory / BRIDGES)
        self.exchange.load_bridge_state(tensors)
        tensors, metadata = load_tensors(directory / STORE)
        self.exchange.store.load_state_dict({"tensors": tensors, "metadata": metadata})
        self.exchange.refresh()


@dataclass(kw_only=True)
class System(BaseSystem):
    """Next items: an ID model and a language model that rank the catalogue."""

    data: TrainingData
    id_model: IDModel | None
    prompts: PromptBatches | None

    def need_id(self) -> IDModel:
        """The ID model of an arm that has one."""
        assert self.id_model is not None
        return self.id_model

    def need_prompts(self) -> PromptBatches:
        """The prompts of an arm with an LLM."""
        assert self.prompts is not None
        return self.prompts

    def item_vectors(self) -> Tensor:
        """See `BaseSystem`."""
        recommender, llm = self.need_llm(), self.config.llm
        if llm.item_pooling == "history":
            return encode_histories(recommender, self.exchange, self.need_prompts(), self.data.n_items)
        return self.text_vectors()

    @property
    def texts(self) -> Sequence[str]:
        """See `BaseSystem`."""
        return self.data.item_text

    def start_head(self) -> None:
        """Let an `id_head` scorer start from the ID model's item table, where knowledge may cross that way."""
        if self.recommender is not None and self.exchange.open and "id2llm" in self.exchange.directions:
            scorer = self.recommender.scorer
            if isinstance(scorer, IdHead):
                scorer.load_table(self.exchange.shown_items(self.need_id().item_table().detach()))


def build_system(config: Config, data: TrainingData) -> System:
    """Load and create what the config's arm needs.

    Each part is drawn from the seed by itself, so that an arm's ID model starts like that of any other arm.

    Raises:
        UserError: a model that can't be loaded, or a device that is not there.
    """
    device = choose_device(config.device)
    sides = SIDES[config.arm]
    torch.manual_seed(config.seed)
    id_model = new_id_model(config.id, data, device) if "id" in sides else None
    sources = create_sources(config, data, device) if prefix_width(config.bridges, config.arm) else []
    torch.manual_seed(config.seed)
    id_width = id_model.width if id_model is not None else config.id.width
    recommender = _recommender(config, data, device, id_width) if "llm" in sides else None
    torch.manual_seed(config.seed)
    others = [source.model for source in sources]
    exchange = create_exchange(config, data, len(data.train.items), id_model, recommender, device, others)
    if recommender:
        recommender.attach_item_features(exchange.scored_items)
    if config.controls.id_states == "permuted":
        exchange.other_users = OtherUsers.draw(data.train, config.seed)
    if config.controls.id_items == "permuted":
        exchange.other_items = torch.from_numpy(other_items(data.n_items, config.seed))
    prompts = _prompts(config, data, recommender, exchange) if recommender else None
    system = System(
        config=config,
        data=data,
        device=device,
        id_model=id_model,
        recommender=recommender,
        prompts=prompts,
        exchange=exchange,
        sources=sources,
    )
    torch.manual_seed(config.seed)
    return system


def choose_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one; UserError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:(0|[1-9]\d?))?", name):
        raise UserError(f"device: {name!r} is not supported; accepted: auto, cpu, cuda, cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device: {name} is not there; {torch.cuda.device_count()} CUDA devices are")
    return device


def text_vectors(config: Config, recommender: LLMRecommender, texts: Sequence[str]) -> Tensor:
    """Vectors of item texts [N], [N, H], by ``llm.item_pooling`` mean or suffix; of an untuned model from the cache.

    With ``llm.item_encoder`` those of that encoder, with ``llm.item_layers=all`` those of the whole model.
    """
    llm = config.llm
    if llm.item_encoder:
        return encoder_vectors(llm.item_encoder, config, recommender, texts)
    if llm.item_layers == "all" and llm.num_layers:
        recommender = _whole_model(config, recommender.suffix.device)
    pooling: Literal["mean", "suffix"] = "suffix" if llm.item_pooling == "suffix" else "mean"
    return encode_items(recommender, texts, Encoding(pooling, llm.encode_tokens), Path(config.data.cache_dir))


def encoder_vectors(encoder: str, config: Config, recommender: LLMRecommender, texts: Sequence[str]) -> Tensor:
    """Vectors of item texts [N], [N, H], by an encoder that ``llm.item_encoder`` or ``llm.shared_encoder`` names."""
    width, device = recommender.backbone.width, recommender.suffix.device
    if encoder == BAG_OF_WORDS:
        return count_words(texts, width)
    cache_dir = Path(config.data.cache_dir)
    return encode_sentences(encoder, texts, config.llm.encode_tokens, cache_dir, width, device)


def _whole_model(config: Config, device: torch.device) -> LLMRecommender:
    """The untuned model with all its layers, to encode texts with; it recommends nothing."""
    llm = replace(
        config.llm,
        num_layers=0,
        item_layers="kept",
        tune="none",
        whiten_width=0,
        prompt=PromptConfig(),
        scorer=ScorerConfig(width=0),
    )
    backbone = _load_backbone(config, llm, device)
    return LLMRecommender(backbone, llm, n_items=1).to(device)


def load_llm(config: Config, texts: Sequence[str], device: torch.device) -> Backbone:
    """The backbone of a run; UserError where no item has a text for it to read."""
    if not any(texts):
        raise UserError(
            f"no item has a text, so there is nothing for the LLM to read; {_way_to_texts(config.data)}, or train the "
            "ID model alone: arm=id_only"
        )
    return _load_backbone(config, config.llm, device)


def _way_to_texts(config: DataConfig) -> str:
    """What to do about a dataset without item texts, by what it has instead."""
    source = find_source(config)
    if source.is_prepared:
        return f"{config.dataset} was prepared without them: name the raw files in data.dataset and data.item_file"
    if source.items is None:
        return "name the file with one row per item in data.item_file (and its text columns in data.text_fields)"
    return f"{source.items} has none for any of these items: name its text columns in data.text_fields"


def _load_backbone(config: Config, llm: LLMConfig, device: torch.device) -> Backbone:
    drawn = config.controls.llm_weights == "random"
    return load_backbone(llm, Path(config.data.cache_dir), device, config.seed, drawn)


def _recommender(config: Config, data: TrainingData, device: torch.device, id_width: int) -> LLMRecommender:
    backbone = load_llm(config, data.item_text, device)
    llm = config.llm
    if prefix_width(config.bridges, config.arm):  # a bridge fills the prefix
        llm = replace(llm, prompt=replace(llm.prompt, prefix_tokens=0))
    return LLMRecommender(backbone, llm, data.n_items, id_width).to(device)


def _prompts(config: Config, data: TrainingData, recommender: LLMRecommender, exchange: Exchange) -> PromptBatches:
    layout = exchange.layout()
    if recommender.prefix is not None:
        layout = replace(layout, prefix=len(recommender.prefix))
    return PromptBatches(
        data.train,
        PromptBuilder(recommender.backbone.tokenizer, data.item_text, config.llm.prompt, exchange.attention),
        config.llm.prompt,
        layout,
        config.train.llm.batch_prompts,
        config.id.max_length,
        config.seed,
        config.evaluation.llm_batch_prompts,
        recommender.backbone.context,
    )
