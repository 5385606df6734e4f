"""What instruction examples are made of: one dataset's train part with titles, categories and ratings.

Letters: N items (row 0 is padding); n is the number of train interactions.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.data.cuts import cut_positions
from hybrid.data.dataset import Dataset
from hybrid.data.prepare import prepare
from hybrid.data.readers import open_table
from hybrid.data.sources import find_source
from hybrid.data.split import Histories, copy_ranges
from hybrid.data.text import titles_and_categories
from hybrid.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Domain:
    """One dataset as instructions see it."""

    name: str
    train: Histories
    titles: list[str]
    """[N] empty where unknown."""
    categories: list[str]
    """[N] empty where unknown."""
    ratings: np.ndarray | None
    """[n] of each train interaction."""

    @property
    def titled(self) -> np.ndarray:
        """Items that have a title, in order."""
        return np.array([item for item, title in enumerate(self.titles) if item and title], dtype=np.int64)


def load_domain(config: DataConfig, dataset: Dataset | None = None) -> Domain:
    """The domain of a dataset (prepared already, or not).

    Raises UserError for anything wrong with its files, and where no item has a title.
    """
    dataset = prepare(config) if dataset is None else dataset
    source = find_source(config)
    if source.is_prepared or source.items is None:
        titles, categories = dataset.item_text, [""] * dataset.n_items
    else:
        titles, categories = titles_and_categories(open_table(source.items), dataset.item_ids[1:], config, log.info)
        titles, categories = ["", *titles], ["", *categories]
    if not any(titles):
        raise UserError(
            f"{config.dataset}: no item has a title, so there is no text to ask about; see data.text_fields"
        )
    cuts = cut_positions(dataset.offsets, dataset.times, config)
    parts = [
        None if values is None else copy_ranges(values, dataset.offsets[:-1], cuts.train_end)
        for values in (dataset.items, dataset.ratings)
    ]
    assert parts[0] is not None
    return Domain(dataset.name, parts[0], titles, categories, None if parts[1] is None else parts[1].items)


def load_general(config: DataConfig, names: tuple[str, ...]) -> list[Domain]:
    """The domains of the general adapter, prepared as the run's own is, but for its item columns."""
    return [load_domain(replace(config, dataset=name, item_file="", text_fields=())) for name in names]
