"""States, gradients into soft tokens, and the saved form."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hybrid.config.schema import LoRAConfig, PromptConfig, ScorerConfig
from hybrid.errors import UserError
from hybrid.llm.item_vectors import Encoding, encode_items
from hybrid.llm.prompts import PromptBatch, PromptBuilder, SlotLayout
from hybrid.llm.recommender import LLMRecommender
from hybrid.llm.tiny import tiny_tokenizer
from hybrid.llm.windows import last_windows
from hybrid.modes import inference, set_learning

EVERYTHING = SlotLayout(prefix=2, user=True, item=True)


@pytest.fixture
def make_batch(titles, histories, llm_config, backbone):
    def make(layout: SlotLayout, rows: tuple[list[int], ...] = ([1, 2, 3, 4, 5], [6], [7, 8])) -> PromptBatch:
        builder = PromptBuilder(backbone.tokenizer, titles, llm_config.prompt)
        return builder.build(last_windows(histories(*rows), most_targets=2), layout, id_length=4)

    return make


def soft_tokens(batch: PromptBatch, width: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    shapes = {"prefix": (len(batch.users), 2, width), "user": (len(batch.users), width)}
    shapes["item"] = (len(batch.item_ids), width)
    return {kind: torch.randn(shape, generator=generator).requires_grad_() for kind, shape in shapes.items()}


def wake_adapter(recommender: LLMRecommender) -> None:
    """B starts at zero, so that an untrained adapter does nothing; give it something to do."""
    with torch.no_grad():
        for name, parameter in recommender.lm.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))


def test_states_equal_the_plain_model_on_each_prompt_alone(make_recommender, make_batch) -> None:
    recommender = make_recommender().eval()
    batch = make_batch(SlotLayout())
    states = recommender.states(batch)
    assert states.shape == (5, 32)
    assert states.dtype == torch.float32
    for state, prompt, time in zip(states, *batch.suffix_index, strict=True):
        tokens = batch.tokens[prompt, : batch.lengths[prompt]]
        embeddings = recommender.backbone.embeddings[tokens].clone()
        for other, at in zip(*batch.suffix_index, strict=True):
            if other == prompt:
                embeddings[at] = recommender.suffix
        alone = recommender.backbone.model(inputs_embeds=embeddings[None]).last_hidden_state[0, time]
        torch.testing.assert_close(state, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_padding_changes_nothing(make_recommender, make_batch, dtype: str) -> None:
    recommender = make_recommender(dtype=dtype).eval()
    wake_adapter(recommender)
    short = make_batch(EVERYTHING, ([7, 8],))
    both = make_batch(EVERYTHING, ([7, 8], [1, 2, 3, 4, 5]))
    assert both.tokens.shape[1] > short.tokens.shape[1]
    slots = {kind: tokens.detach() for kind, tokens in soft_tokens(both, 32).items()}
    own = {"prefix": slots["prefix"][:1], "user": slots["user"][:1], "item": slots["item"][:2]}
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    torch.testing.assert_close(
        recommender.states(both, slots)[:2], recommender.states(short, own), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_reach_soft_tokens_and_trainable_parameters_only(make_recommender, make_batch, dtype: str) -> None:
    recommender = make_recommender(dtype=dtype)
    wake_adapter(recommender)
    recommender.scorer.set_item_vectors(torch.randn(12, 32))
    batch = make_batch(EVERYTHING)
    slots = soft_tokens(batch, 32)
    (recommender.user_states(recommender.states(batch, slots)) @ recommender.item_matrix().T)[:, 1].sum().backward()
    for tokens in slots.values():
        assert (tokens.grad.norm(dim=-1) > 0).all()
    trainable = recommender.trainable_parameters()
    assert all(parameter.grad is not None and parameter.dtype == torch.float32 for parameter in trainable)
    frozen = {id(parameter) for parameter in recommender.parameters()} - {id(parameter) for parameter in trainable}
    assert len(trainable) == 2 * 2 * 2 + 1 + 4
    assert frozen == {id(parameter) for parameter in recommender.parameters() if parameter.grad is None}


def test_a_slot_acts_on_its_own_prompt_and_later_states_only(make_recommender, make_batch) -> None:
    recommender = make_recommender().eval()
    batch = make_batch(EVERYTHING)  # suffix slots: two of prompt 0, one of prompt 1, two of prompt 2
    slots = soft_tokens(batch, 32)
    states = recommender.states(batch, slots)
    moved = {kind: tokens.detach().clone() for kind, tokens in slots.items()}
    moved["item"][3] += 1  # after the last of the 4 items that prompt 0 reads
    changed = (recommender.states(batch, moved) != states).any(dim=1)
    assert changed.tolist() == [False, True, False, False, False]
    moved["prefix"][2] += 1
    changed = (recommender.states(batch, moved) != states).any(dim=1)
    assert changed.tolist() == [False, True, False, True, True]


def test_missing_or_misshapen_soft_tokens_are_refused(make_recommender, make_batch) -> None:
    recommender = make_recommender()
    batch = make_batch(EVERYTHING)
    slots = soft_tokens(batch, 32)
    with pytest.raises(UserError, match="have 3 user slots, but no bridge fills them"):
        recommender.states(batch, {"prefix": slots["prefix"], "item": slots["item"]})
    with pytest.raises(UserError, match=r"6 prefix slots of width 32 cannot take tokens of shape \(3, 1, 32\)"):
        recommender.states(batch, {**slots, "prefix": slots["prefix"][:, :1]})


def test_training_learns_to_tell_users_apart(make_recommender, make_batch) -> None:
    recommender = make_recommender(dtype="bfloat16", scorer=ScorerConfig(width=6, temperature=0.2))
    recommender.scorer.set_item_vectors(torch.randn(12, 32, generator=torch.Generator().manual_seed(1)))
    batch = make_batch(SlotLayout())
    targets = torch.tensor([5, 3, 9, 8, 2])
    optimizer = torch.optim.AdamW(recommender.trainable_parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        scores = recommender.user_states(recommender.states(batch)) @ recommender.item_matrix().T
        losses.append(torch.nn.functional.cross_entropy(scores, targets))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.1 * losses[0]


def test_suffix_starts_as_long_as_a_word(make_recommender) -> None:
    recommender = make_recommender()
    norms = recommender.backbone.embeddings.norm(dim=1)
    assert recommender.suffix.norm().item() == pytest.approx(norms.mean().item())


@pytest.mark.parametrize("kind", ["suffix_cosine", "id_head"])
def test_save_and_load_bring_back_every_score(make_recommender, make_batch, tmp_path: Path, kind) -> None:
    scorer = ScorerConfig(kind=kind, width=6)
    trained, fresh = make_recommender(seed=1, scorer=scorer), make_recommender(seed=2, scorer=scorer)
    wake_adapter(trained)
    with torch.no_grad():
        trained.suffix += 0.1
    if kind == "suffix_cosine":
        trained.scorer.set_item_vectors(torch.randn(12, 32))
    batch = make_batch(SlotLayout())

    def scores(recommender: LLMRecommender) -> torch.Tensor:
        with inference(recommender):
            return recommender.user_states(recommender.states(batch)) @ recommender.item_matrix().T

    trained.save(tmp_path / "llm")
    assert not torch.equal(scores(fresh), scores(trained))
    fresh.load(tmp_path / "llm")
    assert torch.equal(scores(fresh), scores(trained))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # between PEFT and transformers
def test_saved_adapter_is_a_peft_directory(make_recommender, make_batch, tmp_path: Path) -> None:
    from peft import PeftModel

    from hybrid.llm.tiny import tiny_model

    trained = make_recommender()
    wake_adapter(trained)
    trained.save(tmp_path / "llm")
    loaded = PeftModel.from_pretrained(tiny_model(2, seed=0), str(tmp_path / "llm")).eval()
    tokens = make_batch(SlotLayout()).tokens
    expected = trained.eval().hidden(trained.embed(tokens))
    assert torch.equal(loaded(input_ids=tokens).last_hidden_state, expected)
    assert json.loads((tmp_path / "llm/adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-random"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"weights": 1}, r"weights is '\w{16}', but this run has '\w{16}'"),
        ({"num_layers": 1}, "layers is '2', but this run has '1'"),
        ({"lora": LoRAConfig(rank=3, dropout=0.0)}, "r is 2, but this run's adapter has 3"),
        ({"lora": LoRAConfig(rank=2, targets=("k_proj",))}, r"target_modules is \['q_proj', 'v_proj'\], but .*k_proj"),
        ({"scorer": ScorerConfig(width=5)}, r"scorer\.item_projection\.bias is \(6,\), but this run's is \(5,\)"),
        ({"scorer": ScorerConfig(kind="id_head")}, "scorer is 'suffix_cosine', but this run has 'id_head'"),
        ({"n_items": 13}, r"scorer.item_vectors is \(12, 4\), but this run's is \(13, 4\)"),
    ],
)
def test_load_names_both_sides_of_a_mismatch(make_recommender, tmp_path: Path, other: dict, message: str) -> None:
    make_recommender().save(tmp_path / "llm")
    recommender = make_recommender(seed=1, **other)
    before = [parameter.clone() for parameter in recommender.parameters()]
    with pytest.raises(UserError, match=message):
        recommender.load(tmp_path / "llm")
    assert all(torch.equal(a, b) for a, b in zip(before, recommender.parameters(), strict=True))


def test_load_refuses_damaged_and_foreign_files(make_recommender, tmp_path: Path) -> None:
    recommender, folder = make_recommender(), tmp_path / "llm"
    with pytest.raises(UserError, match=r"scorer\.safetensors cannot be read"):
        recommender.load(folder)
    recommender.save(folder)
    weights = load_file(folder / "adapter_model.safetensors")
    lost = sorted(weights)[0]
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"lora_A\.weight is absent, but this run's is \(2, 32\)"):
        recommender.load(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"adapter_model\.safetensors cannot be read"):
        recommender.load(folder)


def test_place_that_cannot_be_written_is_named(make_recommender, tmp_path: Path) -> None:
    (tmp_path / "llm").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write the LLM recommender to .*/llm"):
        make_recommender().save(tmp_path / "llm")


def test_sleeping_recommender_can_be_woken(make_recommender) -> None:
    recommender = make_recommender()
    set_learning([recommender], recommender.trainable_parameters(), learning=False)
    assert not any(parameter.requires_grad for parameter in recommender.parameters())
    set_learning([recommender], recommender.trainable_parameters(), learning=True)
    assert sum(parameter.requires_grad for parameter in recommender.parameters()) == 13


VECTORS = PromptConfig(items="vectors", vector_dropout=0.0, instruction="Seen:", history_items=4, targets_per_prompt=2)


@pytest.fixture
def vector_recommender(make_recommender) -> LLMRecommender:
    recommender = make_recommender(prompt=VECTORS)
    recommender.reader.set_vectors(torch.randn(12, 32, generator=torch.Generator().manual_seed(2)))
    return recommender


def vector_batch(titles, histories, layout: SlotLayout, rows: tuple[list[int], ...]) -> PromptBatch:
    builder = PromptBuilder(tiny_tokenizer(), titles, VECTORS)
    return builder.build(last_windows(histories(*rows), most_targets=2), layout, id_length=4)


def test_items_read_as_vectors_enter_as_their_tokens(vector_recommender, titles, histories) -> None:
    recommender = vector_recommender
    batch = vector_batch(titles, histories, SlotLayout(item=True), ([1, 2, 3], [6]))
    beside = torch.randn(4, 32)
    states = recommender.states(batch, {"item": beside})
    tokens = recommender.reader(torch.tensor([1, 2, 3, 6])) + beside
    assert recommender.reader(torch.tensor([5])).norm().item() == pytest.approx(recommender.embedding_norm, rel=1e-3)
    instruction = recommender.backbone.embeddings[batch.tokens[0, : len("Seen:")]]
    for row, (items, kept) in enumerate([([0, 1, 2], [1, 2]), ([3], [0])]):
        alone = recommender.backbone.model(inputs_embeds=torch.cat([instruction, tokens[items]])[None])
        expected = alone.last_hidden_state[0, len(instruction) :][kept]
        torch.testing.assert_close(states[[0, 1] if row == 0 else [2]], expected, rtol=1e-5, atol=1e-5)


def test_what_reads_vectors_learns_and_the_suffix_does_not(vector_recommender, titles, histories) -> None:
    recommender = vector_recommender
    wake_adapter(recommender)
    recommender.scorer.set_item_vectors(torch.randn(12, 32))
    states = recommender.states(vector_batch(titles, histories, SlotLayout(), ([1, 2, 3],)))
    (recommender.user_states(states) @ recommender.item_matrix().T)[:, 1].sum().backward()
    assert all(parameter.grad is not None for parameter in recommender.trainable_parameters())
    assert recommender.suffix.grad is None
    assert recommender.reader.projection.weight.grad.abs().sum() > 0


def test_features_are_added_to_the_scored_vectors(make_recommender) -> None:
    recommender = make_recommender()
    recommender.scorer.set_item_vectors(torch.randn(12, 32))
    added = torch.randn(12, 6)
    own = recommender.scorer.item_projection(recommender.scorer.item_vectors)
    recommender.attach_item_features(lambda: added)
    torch.testing.assert_close(recommender.item_matrix(), torch.nn.functional.normalize(own + added, dim=1))


def test_the_reader_is_saved_and_loaded(vector_recommender, make_recommender, tmp_path: Path) -> None:
    wake_adapter(vector_recommender)
    vector_recommender.save(tmp_path / "saved")
    again = make_recommender(seed=5, prompt=VECTORS)
    again.load(tmp_path / "saved")
    items = torch.tensor([1, 11])
    assert torch.equal(again.reader(items), vector_recommender.reader(items))
    assert again.reader.ready


def test_a_tuned_adapter_is_set_aside_for_texts_that_it_never_read(vector_recommender, titles) -> None:
    before = encode_items(vector_recommender, titles, Encoding())
    wake_adapter(vector_recommender)
    assert torch.equal(encode_items(vector_recommender, titles, Encoding()), before)
