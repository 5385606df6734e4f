"""Prompts of task ctr, the two-word softmax, and what both are made of."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid.config.schema import ClickPromptConfig, LLMConfig, LoRAConfig
from hybrid.ctr.prompts import ClickPromptBuilder, ClickPrompts, Selected
from hybrid.ctr.recommender import ClickRecommender
from hybrid.ctr.selectors import RecentBehaviours
from hybrid.data.clicks import Behaviours, Samples
from hybrid.errors import UserError
from hybrid.llm.answers import answer_tokens
from hybrid.llm.backbone import load_backbone
from hybrid.llm.tiny import tiny_tokenizer

PROMPT = ClickPromptConfig(
    opening="Seen:", liked="+", disliked="-", nothing=" none", offer="\nNew:", question="\nA:", item_tokens=5
)
TITLES = ["", *(f"F{'x' * (number % 3)}{number}" for number in range(1, 10))]
LLM = LLMConfig(name="tiny-random", dtype="float32", lora=LoRAConfig(rank=2, dropout=0.0))


def samples(liked=(1, 0, 1, 0, 1)):
    """User 0 has 1, 2, 3 and is shown 4; user 1 has nothing and is shown 5; user 2 has 6, 7 and is shown 8."""
    behaviours = Behaviours(np.array([1, 2, 3, 6, 7]), np.array(liked, dtype=np.int8), np.array([0, 3, 3, 5]))
    return Samples(
        behaviours,
        users=np.array([0, 1, 2]),
        items=np.array([4, 5, 8]),
        labels=np.array([1, 0, 1], dtype=np.int8),
        starts=np.array([0, 3, 3]),
        ends=np.array([3, 3, 5]),
    )


def answers():
    return answer_tokens(tiny_tokenizer(), PROMPT.question, PROMPT.positive, PROMPT.negative)


def builder():
    return ClickPromptBuilder(tiny_tokenizer(), TITLES, PROMPT, answers())


def texts(batch):
    return [
        tiny_tokenizer().decode(tokens[:length]) for tokens, length in zip(batch.tokens, batch.lengths, strict=True)
    ]


def test_a_prompt_word_for_word():
    selected = Selected.by(RecentBehaviours(), samples(), 2)
    batch = builder().build(selected, np.arange(3))
    assert texts(batch) == [
        "Seen:\n- Fxx2-\n- F3+\nNew:\n- Fx4\nA: ",
        "Seen: none\nNew:\n- Fxx5\nA: ",
        "Seen:\n- F6-\n- Fx7+\nNew:\n- Fxx8\nA: ",
    ]
    assert batch.labels.tolist() == [1, 0, 1]
    assert batch.lengths.tolist() == builder().lengths(selected).tolist()


def test_behaviours_of_which_nothing_is_known_carry_no_mark():
    batch = builder().build(Selected.by(RecentBehaviours(), samples([-1] * 5), 2), np.arange(3))
    assert texts(batch)[2] == "Seen:\n- F6\n- Fx7\nNew:\n- Fxx8\nA: "


def test_batches_cover_every_sample_once_and_say_which():
    numbers = np.arange(3).repeat(7)
    selected = Selected.by(RecentBehaviours(), samples().take(numbers), 2)
    prompts = ClickPrompts(builder(), context=99, batch_prompts=4, eval_prompts=5, seed=1)
    epoch = list(prompts.epoch(selected, 0))
    assert len(epoch) == prompts.n_batches(selected) == 6
    alone = texts(builder().build(selected, np.arange(21)))
    for batches in (epoch, list(prompts.in_order_of_length(selected))):
        assert sorted(int(n) for batch in batches for n in batch.numbers) == list(range(21))
        for batch in batches:
            assert texts(batch) == [alone[int(n)] for n in batch.numbers]
    again = [batch.numbers.tolist() for batch in prompts.epoch(selected, 0, skip=2)]
    assert again == [batch.numbers.tolist() for batch in epoch[2:]]
    assert again != [batch.numbers.tolist() for batch in prompts.epoch(selected, 1, skip=2)]


def test_a_prompt_longer_than_the_context_is_refused():
    selected = Selected.by(RecentBehaviours(), samples(), 2)
    lengths = builder().lengths(selected)
    fits, short = (ClickPrompts(builder(), int(lengths.max()) - less, 4, 5, seed=1) for less in (0, 1))
    fits.check(selected)
    message = (
        rf"has {lengths.max()} tokens, but llm.name reads {lengths.max() - 1}; lower llm.click_prompt.behaviours "
        r"\(now 2\) or llm.click_prompt.item_tokens \(now 5\)"
    )
    for refuse in (short.check, lambda selected: next(short.in_order_of_length(selected))):
        with pytest.raises(UserError, match=message):
            refuse(selected)
    short.check(selected.take(np.array([1])))  # the one without behaviours


@pytest.fixture
def make_recommender(tmp_path):
    def make():
        torch.manual_seed(0)
        return ClickRecommender(load_backbone(LLM, tmp_path, torch.device("cpu")), LLM, len(TITLES), answers())

    return make


def full_head(recommender):
    """The same model as transformers' own, with its whole vocabulary projection."""
    from transformers import LlamaForCausalLM

    backbone = recommender.backbone.model
    model = LlamaForCausalLM(backbone.config).eval()
    model.model.load_state_dict(
        {name.replace(".base_layer", ""): value for name, value in backbone.state_dict().items() if "lora_" not in name}
    )
    model.tie_weights()
    return model


def test_it_is_the_two_word_softmax_of_the_full_vocabulary(make_recommender):
    recommender = make_recommender().eval()
    batch = builder().build(Selected.by(RecentBehaviours(), samples(), 3), np.arange(3))
    model = full_head(recommender)
    with torch.no_grad():
        share = torch.sigmoid(recommender.log_odds(batch))
        for row in range(3):
            logits = model(batch.tokens[row : row + 1, : batch.lengths[row]]).logits[0, -1]
            expected = torch.softmax(logits[[answers().yes, answers().no]], dim=0)[0]
            assert share[row] == pytest.approx(expected.item(), abs=1e-6)
    assert share.max() - share.min() > 1e-4


def test_only_the_rows_of_the_answers_are_kept(make_recommender):
    recommender = make_recommender()
    assert recommender.scorer.items().shape == (2, 32)
    assert not recommender.scorer.state_dict()


def test_what_the_user_thought_changes_the_answer(make_recommender):
    recommender = make_recommender().eval()
    first, second = (
        builder().build(Selected.by(RecentBehaviours(), samples(liked), 3), np.arange(3))
        for liked in ([1, 0, 1, 0, 1], [0, 1, 0, 0, 1])
    )
    with torch.no_grad():
        one, other = recommender.log_odds(first), recommender.log_odds(second)
    assert not torch.allclose(one[0], other[0], atol=1e-5)
    assert torch.allclose(one[1:], other[1:], atol=1e-6)


def test_only_the_adapter_learns(make_recommender):
    recommender = make_recommender()
    batch = builder().build(Selected.by(RecentBehaviours(), samples(), 3), np.arange(3))
    parameters = recommender.trainable_parameters()
    names = [name for name, weight in recommender.named_parameters() if any(weight is one for one in parameters)]
    assert names
    assert all("lora_" in name for name in names)
    for parameter in parameters:
        parameter.requires_grad_(True)
    torch.nn.functional.binary_cross_entropy_with_logits(recommender.log_odds(batch), batch.labels.float()).backward()
    assert all(weight.grad.abs().sum() > 0 for name, weight in recommender.named_parameters() if "lora_B" in name)


def test_saved_and_loaded_it_answers_alike_and_another_kind_is_refused(make_recommender, tmp_path):
    recommender, other = make_recommender().eval(), make_recommender().eval()
    for parameter in recommender.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    batch = builder().build(Selected.by(RecentBehaviours(), samples(), 3), np.arange(3))
    with torch.no_grad():
        expected = recommender.log_odds(batch)
        assert not torch.allclose(other.log_odds(batch), expected, atol=1e-4)
        recommender.save(Path(tmp_path / "saved"))
        other.load(tmp_path / "saved")
        assert torch.equal(other.log_odds(batch), expected)
    from hybrid.llm.recommender import LLMRecommender

    ranking = LLMRecommender(load_backbone(LLM, tmp_path, torch.device("cpu")), LLM, len(TITLES))
    with pytest.raises(UserError, match="scorer is 'yes_no', but this run has 'suffix_cosine'"):
        ranking.load(tmp_path / "saved")
