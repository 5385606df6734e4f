"""Categories of items, as a hard search needs them."""

import numpy as np
import pytest

from hybrid.data.categories import item_categories
from hybrid.errors import UserError

IDS = ["[PAD]", "b", "a", "c"]
ROWS = [("u", "a", 1, 1), ("u", "b", 1, 2), ("u", "c", 1, 3)]


@pytest.fixture
def categories(write, config):
    """Categories of b, a and c, made from an .item file."""

    def read(header, items, **changes):
        write("toy/toy.item", items, header)
        return item_categories(config(write("toy/toy.inter", ROWS).parent, **changes), IDS)

    return read


def test_several_of_an_item_stand_beside_each_other_and_equal_names_are_one(categories):
    items = [("a", "Comedy|War"), ("b", "War | Drama"), ("c", "")]
    found = categories(("item_id:token", "genres:token_seq"), items)
    assert np.array_equal(found, [[0, 0], [1, 2], [3, 1], [0, 0]])


def test_a_sequence_without_bars_is_cut_at_blanks_and_a_token_is_whole(categories):
    items = [("a", "Comedy War"), ("b", "War"), ("c", "Comedy War Comedy")]
    found = categories(("item_id:token", "class:token_seq"), items)
    assert np.array_equal(found, [[0, 0], [1, 0], [2, 1], [2, 1]])
    found = categories(("item_id:token", "class:token"), items)
    assert np.array_equal(found, [[0], [1], [2], [3]])


def test_the_named_column_comes_before_the_likeliest(categories):
    header, items = ("item_id:token", "genre:token", "shelf:token"), [("a", "x", "s"), ("b", "y", "s"), ("c", "z", "t")]
    assert np.array_equal(categories(header, items), [[0], [1], [2], [3]])
    assert np.array_equal(categories(header, items, category_field="shelf"), [[0], [1], [1], [2]])


def test_what_can_not_be_read_is_said(categories, config, write):
    header, items = ("item_id:token", "title:token", "shelf:token"), [("a", "A", "s")]
    with pytest.raises(
        UserError, match=r"toy\.item, line 1: no category-like column .* name one in data\.category_field"
    ):
        categories(header, items)
    with pytest.raises(UserError, match=r"no column 'shelv' \(data\.category_field\); did you mean 'shelf'"):
        categories(header, items, category_field="shelv")
    with pytest.raises(UserError, match=r"has no item file to read categories from"):
        item_categories(config(write("bare/bare.inter", ROWS).parent), IDS)
