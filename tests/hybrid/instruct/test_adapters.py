"""Adapters of the stages on disk, and their mixture."""

import json
from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from hybrid.errors import UserError
from hybrid.instruct.adapters import (
    adapter_state,
    attach_mixture,
    fresh_adapter,
    is_stored,
    load_stored,
    mixture,
    store_adapter,
    store_merged,
)
from hybrid.instruct.entropy import answer_entropy, minimise_entropy
from hybrid.instruct.learner import InstructionLearner
from hybrid.instruct.speaker import Speaker
from hybrid.llm.adapter import attach_adapter
from hybrid.llm.backbone import load_backbone
from hybrid.llm.vocabulary import load_vocabulary

TOKENS = torch.tensor([[5, 9, 30, 2, 7, 7, 41]])


def random_state(lm, seed: int, size: float = 0.3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: size * torch.randn(weight.shape, generator=generator)
        for name, weight in sorted(adapter_state(lm).items())
    }


def another(config, tmp_path, **changes):
    llm = replace(config.llm, **changes)
    backbone = load_backbone(llm, tmp_path, torch.device("cpu"))
    return backbone, attach_adapter(backbone, llm.lora)


def test_a_stored_adapter_loads_and_says_where_it_is_from(speaker, backbone, config, tmp_path) -> None:
    directory = tmp_path / "a" / "general"
    assert not is_stored(directory)
    before = adapter_state(speaker.lm)
    store_adapter(speaker.lm, backbone, directory, {"domains": ["d"]})
    assert is_stored(directory)
    assert json.loads((directory / "adapter_origin.json").read_text())["domains"] == ["d"]
    fresh_adapter(speaker.lm, seed=3)
    assert not any(weight.any() for name, weight in adapter_state(speaker.lm).items() if "lora_B" in name)
    loaded = load_stored(speaker.lm, backbone, directory)
    assert loaded.keys() == before.keys()
    assert all(torch.equal(loaded[name], before[name]) for name in before)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_origin.json"])
def test_an_incomplete_directory_is_an_error(speaker, backbone, tmp_path, name: str) -> None:
    store_adapter(speaker.lm, backbone, tmp_path / "general", {})
    (tmp_path / "general" / name).unlink()
    with pytest.raises(UserError, match=f"not a whole adapter directory, {name} is missing"):
        is_stored(tmp_path / "general")


def test_an_adapter_of_another_model_or_rank_is_refused(speaker, backbone, config, tmp_path) -> None:
    directory = tmp_path / "general"
    store_adapter(speaker.lm, backbone, directory, {})
    short, lm = another(config, tmp_path, num_layers=1)
    with pytest.raises(UserError, match="layers is 2, but this run has 1"):
        load_stored(lm, short, directory)
    same, lm = another(config, tmp_path, lora=replace(config.llm.lora, rank=3))
    with pytest.raises(UserError, match="r is 2, but this run's adapter has 3"):
        load_stored(lm, same, directory)
    origin = json.loads((directory / "adapter_origin.json").read_text())
    (directory / "adapter_origin.json").write_text(json.dumps({**origin, "base_model": "other"}))
    with pytest.raises(UserError, match="base_model is 'other', but this run has 'tiny-random'"):
        load_stored(speaker.lm, backbone, directory)


def test_an_origin_that_is_no_object_is_refused(speaker, backbone, tmp_path) -> None:
    store_adapter(speaker.lm, backbone, tmp_path / "general", {})
    (tmp_path / "general" / "adapter_origin.json").write_text("[]")
    with pytest.raises(UserError, match=r"adapter_origin\.json: a JSON object is expected, found list$"):
        load_stored(speaker.lm, backbone, tmp_path / "general")


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_weights_that_are_not_finite_are_refused(speaker, backbone, tmp_path, value: float) -> None:
    weight = next(weight for name, weight in speaker.lm.named_parameters() if "lora_B" in name)
    weight.data[0, 0] = value
    store_adapter(speaker.lm, backbone, tmp_path / "general", {})
    with pytest.raises(UserError, match=r"general/adapter_model\.safetensors: .*lora_B.* values that are not finite$"):
        load_stored(speaker.lm, backbone, tmp_path / "general")


def mixed(speaker, backbone, config, adapters, **changes):
    settings = replace(config.instruct.mixture, **changes)
    speaker.lm = attach_mixture(speaker.lm, backbone, adapters, config.llm.lora, settings).eval()
    return mixture(speaker.lm)


@pytest.mark.parametrize("merge", ["ab", "delta"])
def test_at_1_0_the_mixture_is_the_general_adapter(speaker, backbone, config, merge: str) -> None:
    alone = speaker.states(TOKENS)
    adapters = [adapter_state(speaker.lm), random_state(speaker.lm, 1)]
    router = mixed(speaker, backbone, config, adapters, merge=merge)
    router.set_weights([1, 0])
    assert torch.equal(speaker.states(TOKENS), alone)
    router.set_weights([0, 1])
    assert not torch.allclose(speaker.states(TOKENS), alone, atol=1e-2)


def test_only_the_mixtures_weights_learn(speaker, backbone, config) -> None:
    adapters = [random_state(speaker.lm, seed) for seed in (1, 2)]
    mixed(speaker, backbone, config, adapters, granularity="layer")
    learning = [name for name, weight in speaker.lm.named_parameters() if weight.requires_grad]
    assert sorted(name.rpartition(".")[2] for name in learning) == ["0", "1"]


@pytest.mark.parametrize("merge", ["ab", "delta"])
def test_the_merged_adapter_is_a_plain_one_that_does_the_same(speaker, backbone, config, tmp_path, merge: str) -> None:
    adapters = [random_state(speaker.lm, seed) for seed in (1, 2)]
    chosen = replace(config, instruct=replace(config.instruct, mixture=replace(
        config.instruct.mixture, merge=merge, granularity="module")))  # fmt: skip
    router = mixed(speaker, backbone, chosen, adapters, merge=merge, granularity="module")
    for number, logits in enumerate(router.logits.values()):
        logits.data[0] = number
    expected = speaker.states(TOKENS)
    store_merged(backbone, adapters, router, chosen, tmp_path / "merged")
    plain = load_backbone(config.llm, tmp_path, torch.device("cpu"))
    loaded = PeftModel.from_pretrained(plain.model, str(tmp_path / "merged")).eval()
    assert loaded.peft_config["default"].r == (2 if merge == "ab" else 4)
    torch.testing.assert_close(loaded(TOKENS).last_hidden_state, expected, rtol=1e-4, atol=1e-4)


def train(speaker, config, examples, epochs: int) -> float:
    learner = InstructionLearner(config, speaker, examples, epochs)
    learner.wake()
    for batch, _ in learner.stream():
        loss = learner.step(batch)["loss"]
        if learner.steps == epochs * learner.batches_per_epoch():
            learner.sleep()
            return loss
    raise AssertionError


def test_least_entropy_prefers_the_useful_adapter(speaker, config, examiner, tmp_path) -> None:
    """One adapter has learned the domain, the other is noise of the same size; the weights begin equal."""
    quick = replace(config, train=replace(config.train, llm=replace(config.train.llm, learning_rate=0.02)))
    examples = [one for one in examiner.draw(100, 1) if one.task == "next_item"]
    fresh_adapter(speaker.lm, 1)
    train(speaker, quick, examples, epochs=15)
    useful = adapter_state(speaker.lm)
    generator = torch.Generator().manual_seed(7)
    noise = {name: torch.randn(w.shape, generator=generator) * w.std() for name, w in useful.items()}
    prompts = [one.prompt for one in examples[:6]]
    for number, adapters in enumerate(([useful, noise], [noise, useful])):
        untouched, lm = another(config, tmp_path)
        fresh = Speaker(lm, load_vocabulary(untouched)).eval()
        router = mixed(fresh, untouched, config, adapters)
        settings = replace(config.instruct.mixture, steps=30, learning_rate=0.2, batch_prompts=3)
        entropies = minimise_entropy(fresh, router.parameters(), prompts, settings)
        assert entropies[-1] < entropies[0]
        assert router.weights()["all"][number] > 0.8


def test_entropy_by_hand(speaker) -> None:
    prompt = TOKENS[0].tolist()
    with torch.no_grad():
        share = speaker.logits(speaker.states(TOKENS)[0, -1]).softmax(dim=-1)
        first = torch.distributions.Categorical(probs=share).entropy()
        again = torch.cat([TOKENS, share.argmax()[None, None]], dim=1)
        share = speaker.logits(speaker.states(again)[0, -1]).softmax(dim=-1)
        second = torch.distributions.Categorical(probs=share).entropy()
        assert answer_entropy(speaker, prompt, 1).item() == pytest.approx(first.item(), rel=1e-4)
        assert answer_entropy(speaker, prompt, 2).item() == pytest.approx((first + second).item() / 2, rel=1e-4)


def test_an_adapter_learns_the_answers(speaker, config, examiner) -> None:
    quick = replace(config, train=replace(config.train, llm=replace(config.train.llm, learning_rate=0.02)))
    examples = [one for one in examiner.draw(60, 1) if one.task == "category"]
    fresh_adapter(speaker.lm, 1)
    learner = InstructionLearner(quick, speaker, examples, 1)
    batch = next(learner.batches(0, 0))
    with torch.no_grad():
        before = learner.losses(batch)["answers"].item()
        logits = speaker.logits(speaker.states(batch.tokens))
        picked = [logits[place, time].log_softmax(-1)[target] for place, time, target in
                  zip(*batch.places, batch.targets, strict=True)]  # fmt: skip
    assert before == pytest.approx(-sum(value.item() for value in picked) / len(picked), rel=1e-4)
    assert train(speaker, quick, examples, epochs=40) < 0.3 * before
