"""Where the adapter goes, and what is trainable."""

import pytest
import torch

from hybrid.config.schema import LoRAConfig
from hybrid.errors import UserError
from hybrid.llm.adapter import adapter_weights, attach_adapter


def test_only_the_adapter_is_trainable_and_it_changes_nothing_yet(backbone) -> None:
    tokens = torch.arange(6)[None]
    before = backbone.model(input_ids=tokens).last_hidden_state
    model = attach_adapter(backbone, LoRAConfig(rank=3, targets=("q_proj", "down_proj")))
    assert torch.equal(model(input_ids=tokens).last_hidden_state, before)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == set(adapter_weights(model))
    # A and B of two layers: q_proj 32 -> 32, down_proj 64 -> 32
    assert sum(weight.numel() for weight in adapter_weights(model).values()) == 2 * 3 * (32 + 32 + 64 + 32)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("q_proj", "v_prj"), r"no linear layer is named 'v_prj'; did you mean 'v_proj'\?"),
        (("attention",), "no linear layer is named 'attention'; accepted: down_proj, gate_proj, k_proj"),
        (("norm",), "no linear layer is named 'norm'"),
        ((), "llm.lora.targets is empty; accepted: down_proj"),
    ],
)
def test_targets_that_fit_nothing_are_refused(backbone, targets: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        attach_adapter(backbone, LoRAConfig(targets=targets))


def user_config(kind: str, **settings: object) -> LoRAConfig:
    return LoRAConfig(kind=kind, rank=4, dropout=0.0, experts=2, gate_dropout=0.0, **settings)


def shaken(make_recommender, config: LoRAConfig):
    recommender = make_recommender(lora=config)
    generator = torch.Generator().manual_seed(1)
    for weight in adapter_weights(recommender.lm).values():
        weight.data += torch.randn(weight.shape, generator=generator)
    return recommender.eval()


@pytest.mark.parametrize("kind", ["gated", "block", "dense"])
def test_an_adapter_of_the_user_reads_the_users_vectors(make_recommender, kind: str) -> None:
    recommender = shaken(make_recommender, user_config(kind))
    embeddings = recommender.embed(torch.arange(12).reshape(2, 6))
    users = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        known, of_none = recommender.hidden(embeddings, users), recommender.hidden(embeddings)
        swapped = recommender.hidden(embeddings, users.flip(0))
        same = recommender.hidden(embeddings, users[:1].expand(2, -1))
    assert not torch.allclose(known, of_none, atol=1e-3)
    assert not torch.allclose(known, swapped, atol=1e-3)
    torch.testing.assert_close(same[0], known[0])
    torch.testing.assert_close(same[1], swapped[1])


@pytest.mark.parametrize("kind", ["plain", "gated", "block", "dense"])
def test_every_kind_saves_and_loads(make_recommender, tmp_path, kind: str) -> None:
    recommender = shaken(make_recommender, user_config(kind))
    recommender.save(tmp_path)
    other = make_recommender(seed=1, lora=user_config(kind)).eval()
    other.load(tmp_path)
    embeddings = recommender.embed(torch.arange(12).reshape(2, 6))
    users = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(other.hidden(embeddings, users), recommender.hidden(embeddings, users))


def test_the_blocks_share_the_rank_and_cost_only_their_gates(make_recommender) -> None:
    """iLoRA: 4 layers' modules of rank 4, and one gate of 3 x 2 weights and 2 biases for the whole model."""
    block = make_recommender(lora=user_config("block", granularity="model", gate_width=0))
    plain = make_recommender(lora=user_config("plain"))
    sizes = [sum(weight.numel() for weight in adapter_weights(one.lm).values()) for one in (block, plain)]
    assert sizes[0] == sizes[1] + 3 * 2 + 2


def test_the_gate_divides_its_scores_by_the_temperature_of_the_config(make_recommender) -> None:
    users = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    plain, soft = (
        make_recommender(lora=user_config("gated", gate_temperature=temperature)).lm.base_model.router()
        for temperature in (1.0, 5.0)
    )
    for group in plain.nets:
        expected = (plain.weights(group, users).log() / 5).softmax(dim=-1)
        torch.testing.assert_close(soft.weights(group, users), expected)


def test_an_adapter_of_another_kind_is_refused(make_recommender, tmp_path) -> None:
    make_recommender(lora=user_config("gated")).save(tmp_path)
    for config, message in [
        (user_config("plain"), "peft_type is CORE_LORA, but this run's adapter has"),
        (user_config("gated", combine="product_of_sums"), "combine is sum_of_products, but this run's adapter has"),
        (user_config("dense"), "core is gate, but this run's adapter has dense"),
    ]:
        with pytest.raises(UserError, match=message):
            make_recommender(lora=config).load(tmp_path)


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="rank 6 must be a multiple of the number of blocks, experts 4"):
        LoRAConfig(kind="block", rank=6)
    with pytest.raises(ValueError, match="gate_top 5 must be at most experts 4"):
        LoRAConfig(gate_top=5)
