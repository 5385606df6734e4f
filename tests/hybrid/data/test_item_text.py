import pytest

from hybrid.data.prepare import prepare
from hybrid.data.text import clean, with_year
from hybrid.errors import UserError

ROWS = [("u", "a", 1, 1), ("u", "b", 1, 2), ("u", "c", 1, 3)]


@pytest.fixture
def text(write, config):
    """Item text of a, b and c, made from an .item file."""

    def read(header, items, log=lambda line: None, **changes):
        write("toy/toy.item", items, header)
        write("toy/toy.inter", ROWS)
        return prepare(config(write("toy/toy.inter", ROWS).parent, **changes), log).item_text[1:]

    return read


def test_title_year_and_genres(text):
    header = ("genre:token_seq", "release_year:float", "item_id:token", "movie_title:token_seq")
    items = [("Drama|War", "1995.0", "c", "Cat  "), ("Comedy", "", "a", "Ant (1990)"), ("", 1995, "b", "Bee (1995)")]
    assert text(header, items) == ["Ant (1990), Comedy", "Bee (1995)", "Cat (1995), Drama, War"]


def test_chosen_fields_are_joined_in_their_order(text):
    header = ("item_id:token", "title:token_seq", "brand:token", "year:float")
    items = [("a", "Ant", "Acme", 1), ("b", "Bee", "", 2), ("c", "", "", 3)]
    assert text(header, items, text_fields=("brand", "title")) == ["Acme, Ant", "Bee", ""]


def test_items_without_text_are_counted(text):
    said = []
    assert text(("item_id:token", "title:token_seq"), [("a", "Ant"), ("b", "  ")], said.append) == ["Ant", "", ""]
    assert any("2 of 3 items have no text" in line for line in said)


@pytest.mark.parametrize("other", ["a.0", " a", "A"])
def test_item_ids_of_which_none_is_in_the_interactions(text, other):
    header, items = ("item_id:token", "title:token_seq"), [(other, "Ant"), ("x", "Bee")]
    with pytest.raises(UserError) as caught:
        text(header, items)
    assert "toy.item: none of its 2 items is among the 3 of " in str(caught.value)
    assert str(caught.value).endswith(f"toy; ids are compared as text, and item_id is {other!r} here and 'a' there")


def test_an_item_file_without_a_title_like_column(text):
    said = []
    assert text(("item_id:token", "weight:float"), [("a", 1)], said.append) == ["", "", ""]
    assert any("no title-like column" in line for line in said)


def test_an_item_that_is_there_twice(text):
    items = [("a", "Ant"), ("b", "Bee"), ("a", "Other")]
    with pytest.raises(UserError, match=r"toy\.item, line 4: item 'a' is there twice"):
        text(("item_id:token", "title:token_seq"), items)


def test_a_misspelt_text_field(text):
    with pytest.raises(UserError, match=r"no column 'titel' \(data\.text_fields\); did you mean 'title'\?"):
        text(("item_id:token", "title:token_seq"), [("a", "Ant")], text_fields=("titel",))


def test_an_item_file_without_the_item_column(text):
    with pytest.raises(UserError, match=r"no column 'item_id' \(data\.item_field\); did you mean 'itemid'\?"):
        text(("itemid:token", "title:token_seq"), [("a", "Ant")])


def test_text_fields_without_an_item_file(write, config):
    with pytest.raises(UserError, match=r"data\.item_file"):
        prepare(config(write("toy.inter", ROWS), text_fields=("title",)))


def test_the_text_is_part_of_the_fingerprint(text, write, config):
    header = ("item_id:token", "title:token_seq")
    path = write("toy/toy.inter", ROWS)
    stamps = set()
    for title in ("Ant", "Ape"):
        text(header, [("a", title)])
        stamps.add(prepare(config(path)).fingerprint)
    assert len(stamps) == 2


def test_clean():
    assert clean(" a \t b|c | d\u00a0e ") == "a b, c, d e"
    assert clean(None) == ""


def test_with_year():
    assert with_year("Ant", "1990.0") == "Ant (1990)"
    assert with_year("Ant (1990)", "1990") == "Ant (1990)"
    assert with_year("", "1990") == ""
