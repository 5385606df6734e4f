"""Vectors that count words: inner products of tf-idf, and nothing of who stands where."""

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from hybrid.errors import UserError
from hybrid.llm.word_vectors import count_words

TEXTS = ["", "red dog", "red red cat", "blue sky", "dog"]


def test_inner_products_are_those_of_the_words_tf_idf():
    found = count_words(TEXTS, 8)[1:]
    weights = TfidfVectorizer(sublinear_tf=True).fit_transform(TEXTS[1:]).toarray()
    torch.testing.assert_close(found @ found.T, torch.from_numpy(weights @ weights.T).float(), atol=1e-5, rtol=1e-4)
    assert found[3] @ found[0] == pytest.approx(float(weights[3] @ weights[0]), abs=1e-5) != 0
    assert found[2] @ found[0] == pytest.approx(0.0, abs=1e-5)


def test_only_the_largest_directions_fit_into_a_narrow_model():
    wide, narrow = count_words(TEXTS, 8)[1:], count_words(TEXTS, 2)[1:]
    assert narrow.shape == (4, 2)
    largest = torch.linalg.svdvals(wide)[:2]
    torch.testing.assert_close(torch.linalg.svdvals(narrow), largest, atol=1e-4, rtol=1e-3)


def test_items_without_a_word_get_the_mean_of_the_others():
    found = count_words(["red", "red dog", "?!", "", "cat"], 8)
    mean = found[[1, 4]].mean(dim=0)
    assert all(torch.allclose(found[row], mean) for row in (0, 2, 3))


def test_one_word_is_a_vector_too():
    found = count_words(["", "red", "red red", "?!"], 4)
    assert found[1:].tolist() == [[1.0, 0, 0, 0]] * 3


def test_texts_without_a_word_are_refused():
    with pytest.raises(UserError, match="no item text has a word"):
        count_words(["word", "?!", ""], 8)


def test_scripts_without_spaces_share_characters():
    found = count_words(["", "\u7ea2\u8272\u8f66", "\u84dd\u8272\u8239", "red car"], 8)
    assert found[1] @ found[2] > 0.1
    assert found[1] @ found[3] == pytest.approx(0.0, abs=1e-5)


def test_marks_between_characters_are_no_words():
    with pytest.raises(UserError, match="no item text has a word"):
        count_words(["", "\u30fb", "\u0e3f \u0e48"], 8)
