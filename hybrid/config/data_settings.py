"""Settings of the data."""

from dataclasses import dataclass
from typing import Literal

from hybrid.config.kinds import NotNegative, Share


@dataclass(frozen=True)
class DataConfig:
    """Where the interactions come from, and which are kept."""

    dataset: str = "ml-100k"
    """A known name (ml-100k, ml-1m), a folder of RecBole atomic files, or a .inter, .csv or .parquet file."""
    item_file: str = ""
    """File with one row per item and its text, for csv and parquet data; atomic folders bring their own .item file."""
    cache_dir: str = "cache"
    """Folder of prepared datasets, converted language models, item vectors and plain ID models; shared between runs."""
    user_field: str = "user_id"
    """Column of the user id."""
    item_field: str = "item_id"
    """Column of the item id."""
    time_field: str = "timestamp"
    """Column of the time: numbers, or ISO 8601 dates or date-times, all with a zone or all without one, which is UTC.
    Empty: the order of the rows."""
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
