"""Data, click model, language model and exchange of a run of task ctr."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from bridges.knowledge_adapter import KnowledgeAdapter
from bridges.semantic_space import semantic_space
from hybrid.config.schema import Config
from hybrid.ctr.knowledge import click_knowledge
from hybrid.ctr.prompts import ClickPromptBuilder, ClickPrompts
from hybrid.ctr.recommender import ClickRecommender
from hybrid.ctr.scoring import LLMClicks, UserGate
from hybrid.ctr.selectors import BehaviourSelector, RecentBehaviours, RetrievedBehaviours
from hybrid.data.categories import item_categories
from hybrid.data.clicks import ClickData
from hybrid.exchange import SIDES, create_exchange, pair_width
from hybrid.llm.answers import answer_tokens
from hybrid.system import BaseSystem, choose_device, load_llm, text_vectors
from idmodels.click import ClickModel
from idmodels.click_registry import create_click_model
from idmodels.click_settings import ClickSettings
from idmodels.sequence_clicks import SequenceClicks


@dataclass(kw_only=True)
class ClickSystem(BaseSystem):
    """Clicks: a click model and a language model that each judge one item."""

    data: ClickData
    id_model: ClickModel | None
    recommender: ClickRecommender | None
    prompts: ClickPrompts | None
    selector: BehaviourSelector

    def need_id(self) -> ClickModel:
        """The click model of an arm that has one."""
        assert self.id_model is not None
        return self.id_model

    def need_llm(self) -> ClickRecommender:
        """The language model of an arm that has one."""
        assert self.recommender is not None
        return self.recommender

    def llm_scorer(self) -> LLMClicks:
        """The language model as one that judges clicks."""
        assert self.prompts is not None
        count = self.config.llm.click_prompt.behaviours
        gate = UserGate(self.exchange, self.id_model, self.device)
        return LLMClicks(self.need_llm(), self.prompts, self.selector, count, self.device, gate)

    @property
    def texts(self) -> Sequence[str]:
        """See `BaseSystem`."""
        return self.data.item_text

    @property
    def writes_knowledge(self) -> bool:
        """See `BaseSystem`."""
        return KnowledgeAdapter.name in self.exchange.bridges

    def encode_items(self, step: int) -> None:
        """See `BaseSystem`; the untuned language model writes down what it knows, once."""
        super().encode_items(step)
        adapter = self.exchange.bridges.get(KnowledgeAdapter.name)
        if isinstance(adapter, KnowledgeAdapter) and not adapter.known:
            users, items = click_knowledge(self.config, self.need_llm(), self.data)
            adapter.set_knowledge(users.to(self.device), items.to(self.device))

    def start_head(self) -> None:
        """See `BaseSystem`: the answers' rows are the model's own."""


def build_click_system(config: Config, data: ClickData) -> ClickSystem:
    """Load and create what the config's arm needs, each part drawn from the seed by itself.

    Raises:
        UserError: a model that can't be loaded, or a device that is not there.
        IDModelError: an unknown click model.
    """
    device, sides = choose_device(config.device), SIDES[config.arm]
    torch.manual_seed(config.seed)
    id_model = _click_model(config, data).to(device) if "id" in sides else None
    torch.manual_seed(config.seed)
    state_width = id_model.state_width if id_model is not None else config.click.width
    recommender, prompts = _language_model(config, data, device, state_width) if "llm" in sides else (None, None)
    torch.manual_seed(config.seed)
    exchange = create_exchange(config, data, len(data.train.behaviours.items), id_model, recommender, device)
    torch.manual_seed(config.seed)
    return ClickSystem(
        config=config,
        data=data,
        device=device,
        id_model=id_model,
        recommender=recommender,
        prompts=prompts,
        selector=_selector(config, data, recommender),
        exchange=exchange,
    )


def _click_model(config: Config, data: ClickData) -> ClickModel:
    width = pair_width(config.bridges, config.arm)
    settings = ClickSettings(model=config.id.model, feature_width=width, **asdict(config.click))
    by_category = settings.model == "sim" and settings.search == "hard"
    categories = torch.from_numpy(item_categories(config.data, data.item_ids)) if by_category else None
    made = create_click_model(data.n_items, settings, data.n_users, categories, config.id)
    if isinstance(made, SequenceClicks):
        train = data.train_part()
        made.model.read_interactions(train.items, train.starts, train.ends)
    return made


def _selector(config: Config, data: ClickData, recommender: ClickRecommender | None) -> BehaviourSelector:
    prompt = config.llm.click_prompt
    if prompt.selector == "recent" or recommender is None:
        return RecentBehaviours()
    vectors = text_vectors(config, recommender, data.item_text)  # of the untuned model: nothing is loaded yet
    told = np.array([bool(text.strip()) for text in data.item_text])
    train = data.train_items()
    space = semantic_space(vectors, train[told[train]], prompt.retrieval_width)
    space[~told] = 0  # without a text an item is like no other
    return RetrievedBehaviours(space)


def _language_model(
    config: Config, data: ClickData, device: torch.device, state_width: int
) -> tuple[ClickRecommender, ClickPrompts]:
    prompt = config.llm.click_prompt
    backbone = load_llm(config, data.item_text, device)
    answers = answer_tokens(backbone.tokenizer, prompt.question, prompt.positive, prompt.negative)
    recommender = ClickRecommender(backbone, config.llm, data.n_items, answers, state_width).to(device)
    builder = ClickPromptBuilder(backbone.tokenizer, data.item_text, prompt, answers)
    batch_prompts, eval_prompts = config.train.llm.batch_prompts, config.evaluation.llm_batch_prompts
    return recommender, ClickPrompts(builder, backbone.context, batch_prompts, eval_prompts, config.seed)
