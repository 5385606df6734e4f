"""Item vectors against the model run on each text alone, and their cache."""

from pathlib import Path

import pytest
import torch

from hybrid.errors import UserError
from hybrid.llm import item_vectors
from hybrid.llm.item_vectors import Encoding, encode_items

TEXTS = ["", "Heat (1995)", "", "Toy  Story\n(1995)", "Amélie", "Heat (1995)"]


def states_alone(recommender, text: str, suffix: bool) -> torch.Tensor:
    tokens = torch.tensor([recommender.backbone.tokenizer("Item: " + text)["input_ids"]])
    embeddings = recommender.backbone.embeddings[tokens]
    if suffix:
        embeddings = torch.cat([embeddings, recommender.suffix[None, None]], dim=1)
    return recommender.lm(inputs_embeds=embeddings).last_hidden_state[0]


@pytest.fixture
def recommender(make_recommender):
    made = make_recommender().eval()
    with torch.no_grad():
        for name, parameter in made.lm.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    return made


@pytest.mark.parametrize("batch_tokens", [1, 40, 4096])
def test_mean_pooling_is_over_the_text_alone(recommender, monkeypatch, batch_tokens: int) -> None:
    monkeypatch.setattr(item_vectors, "BATCH_TOKENS", batch_tokens)
    vectors = encode_items(recommender, TEXTS, Encoding())
    assert vectors.shape == (6, 32)
    for number, text in enumerate(TEXTS):
        if text:
            alone = states_alone(recommender, " ".join(text.split()), suffix=False)[5:].mean(dim=0)  # after "Item:"
            torch.testing.assert_close(vectors[number], alone, rtol=1e-4, atol=1e-5)


def test_suffix_pooling_is_the_state_after_the_text(recommender) -> None:
    vectors = encode_items(recommender, TEXTS, Encoding("suffix"))
    alone = states_alone(recommender, "Amélie", suffix=True)[-1]
    torch.testing.assert_close(vectors[4], alone, rtol=1e-4, atol=1e-5)


def test_texts_are_cut(recommender) -> None:
    vectors = encode_items(recommender, ["", "abcdef", "abcxyz"], Encoding(tokens=4))  # a blank and three letters
    assert torch.equal(vectors[1], vectors[2])


def test_items_without_text_get_the_mean(recommender) -> None:
    vectors = encode_items(recommender, TEXTS, Encoding())
    mean = vectors[[1, 3, 4, 5]].mean(dim=0)
    torch.testing.assert_close(vectors[[0, 2]], mean.expand(2, -1))


def test_no_text_at_all_is_an_error(recommender) -> None:
    with pytest.raises(UserError, match="no item has a text"):
        encode_items(recommender, ["", " ", ""], Encoding())


def test_encoding_leaves_no_trace(recommender) -> None:
    recommender.train()
    encode_items(recommender, TEXTS, Encoding())
    assert all(module.training for module in recommender.lm.modules())
    assert sum(parameter.requires_grad for parameter in recommender.parameters()) == 13


@pytest.fixture
def untuned(make_recommender):
    return make_recommender().eval()


def test_cache_is_read_only_for_the_same_content(untuned, make_recommender, tmp_path: Path, monkeypatch) -> None:
    def files() -> int:
        return len(list((tmp_path / "vectors").glob("*")))

    first = encode_items(untuned, TEXTS, Encoding(), tmp_path)
    monkeypatch.setattr(item_vectors, "_encode", lambda *_: pytest.fail("computed again"))
    assert torch.equal(encode_items(untuned, TEXTS, Encoding(), tmp_path), first)
    monkeypatch.undo()
    encode_items(untuned, [*TEXTS[:-1], "Fargo"], Encoding(), tmp_path)
    encode_items(untuned, TEXTS, Encoding(tokens=5), tmp_path)
    encode_items(untuned, TEXTS, Encoding("suffix"), tmp_path)
    encode_items(make_recommender(weights=1), TEXTS, Encoding(), tmp_path)
    assert files() == 5
    encode_items(make_recommender(seed=9), TEXTS, Encoding(), tmp_path)  # an untrained adapter is as good as none
    assert files() == 5
    with torch.no_grad():
        untuned.suffix += 1
    encode_items(untuned, TEXTS, Encoding("suffix"), tmp_path)
    assert files() == 6


def test_vectors_of_a_tuned_model_neither_go_to_the_cache_nor_come_from_it(
    recommender, untuned, tmp_path: Path
) -> None:
    tuned = encode_items(recommender, TEXTS, Encoding(), tmp_path)
    assert not (tmp_path / "vectors").exists()
    plain = encode_items(untuned, TEXTS, Encoding(), tmp_path)
    assert not torch.equal(tuned, plain)
    assert torch.equal(encode_items(recommender, TEXTS, Encoding(), tmp_path), tuned)
    assert len(list((tmp_path / "vectors").iterdir())) == 1


def test_damaged_cache_is_computed_again(untuned, tmp_path: Path) -> None:
    first = encode_items(untuned, TEXTS, Encoding(), tmp_path)
    (file,) = (tmp_path / "vectors").glob("*.safetensors")
    file.write_bytes(b"\x00" * 20)
    assert torch.equal(encode_items(untuned, TEXTS, Encoding(), tmp_path), first)
    assert torch.equal(encode_items(untuned, TEXTS, Encoding(), tmp_path), first)
