"""What is asked of a domain."""

from dataclasses import replace

import numpy as np
import pytest

from hybrid.config.schema import MixtureConfig
from hybrid.errors import UserError
from hybrid.instruct.examples import Examiner, Example, candidates, without


def by_task(examiner, count=100):
    examples = examiner.draw(count, seed=1)
    return {task: [example for example in examples if example.task == task] for task in examiner.tasks}


def test_tasks_take_turns(examiner) -> None:
    assert {task: len(found) for task, found in by_task(examiner).items()} == {
        "choice": 20, "next_item": 20, "preference": 20, "rating": 20, "category": 20,
    }  # fmt: skip


def test_the_answer_is_the_train_item_after_the_history(examiner, domain, read) -> None:
    known = set()
    for user in range(3):
        row = domain.train.row(user).tolist()
        for place in range(1, len(row)):
            titles = [domain.titles[item] for item in row[max(0, place - 3) : place] if domain.titles[item]]
            history = "".join(f"\n- {title}" for title in titles)
            known.add(
                (f"A user took these items, oldest first:{history}\nThe next item is:", domain.titles[row[place]])
            )
    asked = {(read(one.prompt), read(one.answer).strip()) for one in by_task(examiner, 300)["next_item"]}
    assert asked == {(prompt, title) for prompt, title in known if title}


def test_a_choice_lists_the_answer_among_items_the_user_never_took(examiner, domain, read) -> None:
    for one in by_task(examiner)["choice"]:
        listed = read(one.prompt).split("Candidates:\n- ")[1].removesuffix("\nThe next item is:").split("\n- ")
        history = read(one.prompt).split("Candidates:")[0]
        assert len(listed) == len(set(listed)) == 4
        assert read(one.answer) == f" {next(title for title in listed if title == read(one.answer).strip())}\n"
        assert not any(title in history for title in listed if title != read(one.answer).strip())


def test_preference_rating_and_category(examiner, domain, read) -> None:
    found = by_task(examiner)
    for one in found["preference"]:
        pair = read(one.prompt).split("is next:\n- ")[1].removesuffix("\nThe next item is:").split("\n- ")
        assert len(pair) == 2
        assert read(one.answer).strip() in pair
    for one in found["rating"]:
        title = read(one.prompt).split("rating of ")[1].removesuffix(" is:")
        assert read(one.answer) == f" {domain.titles.index(title) % 5 + 1}\n"
        lines = read(one.prompt).split("\n- ")[1:]
        assert all(int(line.split(": ")[1][0]) == domain.titles.index(line.split(":")[0]) % 5 + 1 for line in lines)
    for one in found["category"]:
        title = read(one.prompt).removeprefix("The category of ").removesuffix(" is:")
        assert read(one.answer) == f" kind {domain.titles.index(title) % 2}\n"


def test_what_a_domain_does_not_have_is_not_asked(domain, backbone, config) -> None:
    bare = replace(domain, ratings=None, categories=[""] * len(domain.titles))
    assert Examiner(bare, backbone.tokenizer, config).tasks == ["choice", "next_item", "preference"]
    only = replace(config, instruct=replace(config.instruct, tasks=("rating",)))
    with pytest.raises(UserError, match="d: no user has two train items with titles, so there is nothing to ask"):
        Examiner(bare, backbone.tokenizer, only)


def test_examples_depend_on_the_seed_alone(examiner) -> None:
    assert examiner.draw(20, 1) == examiner.draw(20, 1) != examiner.draw(20, 2)


def test_overlap_is_removed() -> None:
    first, second = Example("choice", (1, 2), (3,)), Example("choice", (1, 2), (4,))
    assert without([first, second, first], [first]) == [second]


def test_too_few_candidates_are_an_error(domain, backbone, config) -> None:
    more = replace(config, instruct=replace(config.instruct, candidates=8))
    with pytest.raises(UserError, match=r"d: 7 of 8 items have a title, too few for instruct\.candidates=8"):
        Examiner(domain, backbone.tokenizer, more)
    with pytest.raises(UserError, match=r"^d: a user took all but 1 of the 4 .*; 3 other .*instruct\.candidates"):
        candidates(1, np.array([1, 2, 3]), np.array([1, 2, 3, 4]), 3, np.random.default_rng(0), "d")


def test_a_user_who_leaves_too_few_candidates_is_found_before_any_question(domain, backbone, config) -> None:
    """The first user takes 4 of 7 items with titles, the last one 2 (and one without): 3 are left, and 5."""

    def check(candidates: int, *tasks: str) -> None:
        instruct = replace(config.instruct, candidates=candidates, **({"tasks": tasks} if tasks else {}))
        Examiner(domain, backbone.tokenizer, replace(config, instruct=instruct)).check_candidates()

    check(4)
    with pytest.raises(UserError, match=r"^d: a user took all but 3 of the 7 items with titles; 4 other candidates"):
        check(5)
    check(5, "next_item", "preference")  # these list fewer


def test_a_candidate_without_a_title_is_named(examiner) -> None:
    with pytest.raises(UserError, match="item 7 has no title, so its likelihood can't be had"):
        examiner.wording.answer(7)


TASKS = ["choice", "next_item", "preference", "rating", "category"]


@pytest.mark.parametrize("task", TASKS)
def test_no_instruction_is_longer_than_what_was_foreseen(domain, backbone, config, task: str) -> None:
    examiner = Examiner(domain, backbone.tokenizer, with_tasks(config, task, list_candidates=task != "rating"))
    read = [len(one.prompt) + len(one.answer) - 1 for one in examiner.draw(200, seed=1)]
    assert max(read) <= examiner.longest()
    if task in ("choice", "rating"):  # all titles are cut to three tokens, so the longest instruction is among them
        assert max(read) == examiner.longest()


def test_a_category_may_be_the_longest_answer(domain, backbone, config) -> None:
    told = replace(domain, categories=[*domain.categories[:-1], "kind of everything " * 20])
    plain, long = (Examiner(one, backbone.tokenizer, with_tasks(config, "category")) for one in (domain, told))
    prompt, answer = long.wording.category(1), long.wording.said("kind of everything " * 20)
    assert plain.longest() < long.longest() == len(prompt) + len(answer) - 1


def test_a_greedy_answer_may_be_longer_than_a_title(domain, backbone, config) -> None:
    mixture = MixtureConfig(answer_tokens=500)
    few, many = (
        Examiner(domain, backbone.tokenizer, with_tasks(config, "choice", mixture=one))
        for one in (MixtureConfig(), mixture)
    )
    assert many.longest() == few.longest() + 500 - len(many.wording.answer(1))


def test_an_instruction_may_be_as_long_as_the_model_reads(domain, backbone, config) -> None:
    examiner = Examiner(domain, backbone.tokenizer, config)
    examiner.check_length(examiner.longest())
    with pytest.raises(
        UserError, match=rf"^{domain.name}: an instruction .* have {examiner.longest()} tokens, but the LLM"
    ):
        examiner.check_length(examiner.longest() - 1)


def with_tasks(config, *tasks: str, **others):
    """The config with these tasks, and titles of three tokens."""
    prompt = replace(config.llm.prompt, item_tokens=3)
    return replace(
        config, llm=replace(config.llm, prompt=prompt), instruct=replace(config.instruct, tasks=tasks, **others)
    )
