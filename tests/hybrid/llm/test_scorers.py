"""Both halves of the score, by hand."""

import pytest
import torch
from sklearn.decomposition import PCA

from hybrid.config.schema import LLMConfig, ScorerConfig
from hybrid.llm.scorers import IdHead, SuffixCosine, create_scorer


def test_cosine_of_raw_states_divided_by_the_temperature() -> None:
    scorer = SuffixCosine(n_items=3, state_width=2, whiten_width=0, width=0, temperature=0.5)
    scorer.set_item_vectors(torch.tensor([[1.0, 1.0], [3.0, 4.0], [0.0, -2.0]]))
    logits = scorer.user(torch.tensor([[6.0, 8.0]])) @ scorer.items().T
    torch.testing.assert_close(logits[:, 1:], torch.tensor([[2.0, -1.6]]))
    assert list(scorer.parameters()) == []


def test_cosine_of_projections() -> None:
    scorer = SuffixCosine(n_items=3, state_width=2, whiten_width=0, width=1, temperature=1.0)
    scorer.set_item_vectors(torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]))
    with torch.no_grad():
        scorer.user_projection.weight.copy_(torch.tensor([[0.0, 2.0]]))
        scorer.item_projection.weight.copy_(torch.tensor([[5.0, 0.0]]))
        scorer.user_projection.bias.zero_()
        scorer.item_projection.bias.zero_()
    logits = scorer.user(torch.tensor([[9.0, 1.0], [9.0, -1.0]])) @ scorer.items().T
    assert logits[:, 1:].tolist() == [[1.0, -1.0], [-1.0, 1.0]]


def test_item_vectors_are_whitened_as_by_pca() -> None:
    vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.arange(1.0, 7.0))
    scorer = SuffixCosine(n_items=40, state_width=6, whiten_width=3, width=2, temperature=1.0)
    scorer.set_item_vectors(vectors)
    expected = PCA(3, whiten=True, svd_solver="full").fit_transform(vectors[1:].double().numpy())
    torch.testing.assert_close(scorer.item_vectors[1:].double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-4)


def test_axes_of_the_first_vectors_are_kept() -> None:
    vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    scorer = SuffixCosine(n_items=40, state_width=6, whiten_width=3, width=2, temperature=1.0)
    scorer.set_item_vectors(vectors)
    first, shift = scorer.item_vectors.clone(), torch.arange(6.0)
    scorer.set_item_vectors(vectors + shift)
    moved = scorer.item_vectors[1:] - first[1:]
    torch.testing.assert_close(moved, (shift @ scorer.whitening.basis).expand(39, 3), rtol=1e-4, atol=1e-5)
    again = SuffixCosine(n_items=40, state_width=6, whiten_width=3, width=2, temperature=1.0)
    again.load_state_dict(scorer.state_dict())
    again.set_item_vectors(vectors)
    assert torch.equal(again.item_vectors, first)


def test_vectors_that_move_together_are_centred_and_scaled_anew_along_the_first_axes() -> None:
    vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 7.0)
    scorer = SuffixCosine(n_items=40, state_width=6, whiten_width=3, width=2, temperature=1.0, recentre=True)
    scorer.set_item_vectors(vectors)
    first = scorer.item_vectors.clone()
    for moved in (0.1 * vectors + 50, vectors):
        scorer.set_item_vectors(moved)
        torch.testing.assert_close(scorer.item_vectors, first, rtol=1e-3, atol=1e-3)
    scorer.set_item_vectors(vectors.flip(1))
    torch.testing.assert_close(scorer.item_vectors[1:].mean(dim=0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(scorer.item_vectors[1:].std(dim=0), torch.ones(3), rtol=1e-4, atol=1e-4)
    assert create_scorer(LLMConfig(item_pooling="history"), n_items=12, state_width=8, id_width=0).recentre


def test_vector_width_is_bounded_by_the_catalogue() -> None:
    scorer = create_scorer(LLMConfig(whiten_width=256), n_items=12, state_width=32, id_width=0)
    assert isinstance(scorer, SuffixCosine)
    assert scorer.item_vectors.shape == (12, 10)
    scorer.set_item_vectors(torch.randn(12, 32))
    with pytest.raises(ValueError, match=r"item vectors are \(13, 10\), expected \(12, 10\)"):
        scorer.set_item_vectors(torch.randn(13, 32))


def test_without_a_projection_states_are_whitened_as_the_items_are() -> None:
    generator = torch.Generator().manual_seed(0)
    cone = 100 + torch.randn(40, 6, generator=generator) * torch.arange(1.0, 7.0)
    scorer = SuffixCosine(n_items=40, state_width=6, whiten_width=3, width=0, temperature=0.5)
    scorer.set_item_vectors(cone)
    fitted = PCA(3, whiten=True, svd_solver="full").fit(cone[1:].double().numpy())
    white = torch.from_numpy(fitted.transform(cone.double().numpy())).float()
    expected = torch.nn.functional.cosine_similarity(white[:, None], white[None], dim=2) / 0.5
    logits = scorer.user(cone) @ scorer.items().T
    torch.testing.assert_close(logits[:, 1:], expected[:, 1:], rtol=1e-3, atol=1e-3)
    scorer.set_item_vectors(3 * cone + torch.arange(6.0))  # the axes are those of the newest vectors
    torch.testing.assert_close(
        scorer.user(3 * cone + torch.arange(6.0)) @ scorer.items().T, logits, rtol=1e-2, atol=1e-2
    )
    raw = SuffixCosine(n_items=40, state_width=6, whiten_width=0, width=0, temperature=0.5)
    raw.set_item_vectors(cone)
    assert (raw.user(cone) @ raw.items().T)[:, 1:].std() < 0.02 < 0.5 < logits[:, 1:].std()
    assert list(scorer.parameters()) == []


def test_id_head_starts_from_the_id_models_table() -> None:
    scorer = create_scorer(LLMConfig(scorer=ScorerConfig(kind="id_head")), n_items=4, state_width=2, id_width=3)
    assert isinstance(scorer, IdHead)
    table = torch.arange(12.0).reshape(4, 3)
    scorer.load_table(table)
    with torch.no_grad():
        scorer.projection.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
        scorer.projection.bias.zero_()
    logits = scorer.user(torch.tensor([[1.0, 2.0]])) @ scorer.items().T
    assert logits.tolist() == [[2.0, 11.0, 20.0, 29.0]]
    assert scorer.items().requires_grad
    with pytest.raises(ValueError, match=r"table is \(4, 2\), expected \(4, 3\)"):
        scorer.load_table(torch.zeros(4, 2))
