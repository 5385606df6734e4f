"""The alternating schedule, without any model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid.config.schema import ScheduleConfig
from hybrid.training.early_stopping import EarlyStopping
from hybrid.training.schedule import Schedule


def play(schedule):
    """Every (round, side) unit until the schedule is over."""
    played = []
    while (turn := schedule.current) is not None:
        played.append((turn.round, turn.side))
        schedule.advance()
    return played


def test_a_side_whose_phases_have_length_0_has_no_turn():
    schedule = Schedule(ScheduleConfig(rounds=2, id_length=1, llm_length=0), ("id", "llm"))
    assert play(schedule) == [(1, "id"), (2, "id")]
    assert Schedule(ScheduleConfig(llm_length=0), ("llm",)).current is None


def test_an_llm_alone_has_phases_of_its_own_length():
    config = ScheduleConfig(rounds=2, llm_only_length=3, id_length=1, llm_length=2)
    assert play(Schedule(config, ("llm",))) == [(1, "llm")] * 3 + [(2, "llm")] * 3
    assert Schedule(config, ("llm",)).total("llm") == 6
    assert play(Schedule(config, ("id",))) == [(1, "id"), (2, "id")]
    assert Schedule(config, ("id", "llm")).total("llm") == 4
    assert Schedule(ScheduleConfig(rounds=2, llm_length=3), ("llm",)).total("llm") == 6
    assert Schedule(ScheduleConfig(llm_only_length=3, llm_length=0), ("llm",)).current is None


def test_sides_take_turns_for_their_lengths():
    schedule = Schedule(ScheduleConfig(rounds=2, id_length=2, llm_length=1), ("id", "llm"))
    assert play(schedule) == [(1, "id"), (1, "id"), (1, "llm"), (2, "id"), (2, "id"), (2, "llm")]


def test_the_llm_can_begin():
    schedule = Schedule(ScheduleConfig(rounds=1, id_length=1, llm_length=1, first="llm"), ("id", "llm"))
    assert play(schedule) == [(1, "llm"), (1, "id")]


def test_an_absent_side_has_no_turns():
    assert play(Schedule(ScheduleConfig(rounds=2, id_length=1), ("id",))) == [(1, "id"), (2, "id")]


def test_a_side_remains_until_its_last_unit_is_done():
    schedule = Schedule(ScheduleConfig(rounds=2, id_length=2, llm_length=1), ("id", "llm"))
    left = []
    while schedule.current is not None:
        schedule.advance()
        left.append((schedule.remains("id"), schedule.remains("llm")))
    assert left == [(True, True)] * 4 + [(False, True), (False, False)]
    stopped = Schedule(ScheduleConfig(rounds=2), ("id", "llm"))
    stopped.stop("id")
    assert (stopped.remains("id"), stopped.remains("llm")) == (False, True)


def test_total_counts_a_sides_units():
    schedule = Schedule(ScheduleConfig(rounds=3, id_length=5, llm_length=2), ("id", "llm"))
    assert (schedule.total("id"), schedule.total("llm")) == (15, 6)


def test_done_counts_up_and_starts_again_with_the_next_turn():
    schedule = Schedule(ScheduleConfig(rounds=2, id_length=2, llm_length=1), ("id", "llm"))
    done = []
    while (turn := schedule.current) is not None:
        done.append(turn.done)
        schedule.advance()
    assert done == [0, 1, 0, 0, 1, 0]


def test_a_stopped_side_has_no_more_turns_and_the_other_goes_on():
    schedule = Schedule(ScheduleConfig(rounds=3, id_length=2, llm_length=1), ("id", "llm"))
    schedule.advance()
    schedule.stop("id")
    assert play(schedule) == [(1, "llm"), (2, "llm"), (3, "llm")]


def test_stopping_in_the_middle_gives_the_next_side_a_whole_turn():
    schedule = Schedule(ScheduleConfig(rounds=1, id_length=3, llm_length=2), ("id", "llm"))
    schedule.advance()
    schedule.stop("id")
    turn = schedule.current
    assert turn is not None
    assert (turn.side, turn.done, turn.length) == ("llm", 0, 2)


def test_a_turn_that_ends_early_leaves_the_later_ones():
    schedule = Schedule(ScheduleConfig(rounds=2, id_length=3, llm_length=1), ("id", "llm"))
    schedule.advance()
    schedule.end_turn()
    assert play(schedule) == [(1, "llm"), (2, "id"), (2, "id"), (2, "id"), (2, "llm")]
    assert schedule.current is None


def test_a_turn_ends_early_where_stopped_sides_lie_before_it():
    schedule = Schedule(ScheduleConfig(rounds=2, id_length=2, llm_length=2), ("id", "llm"))
    schedule.stop("id")
    schedule.end_turn()
    assert play(schedule) == [(2, "llm"), (2, "llm")]


def test_advancing_says_when_a_turn_is_over():
    schedule = Schedule(ScheduleConfig(rounds=1, id_length=2, llm_length=1), ("id", "llm"))
    assert [schedule.advance() for _ in range(3)] == [False, True, True]


def out_of_patience():
    stopping = EarlyStopping(patience=1)
    stopping.update(0.5, 1)
    stopping.update(0.4, 2)
    return stopping


def test_a_phase_in_vain_ends_and_the_second_ends_the_side():
    schedule, stopping = Schedule(ScheduleConfig(rounds=3, id_length=3, llm_length=1), ("id", "llm")), out_of_patience()
    assert not schedule.end_in_vain("id", stopping, over=schedule.advance())
    assert schedule.current.side == "llm"
    schedule.advance()
    assert schedule.end_in_vain("id", stopping, over=schedule.advance())
    assert play(schedule) == [(2, "llm"), (3, "llm")]


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_a_side_that_waits_for_help_keeps_its_turns(unit):
    schedule, stopping = Schedule(ScheduleConfig(rounds=2, unit=unit, id_length=2), ["id"]), out_of_patience()
    assert not schedule.end_in_vain("id", stopping, over=schedule.advance(), waits=True)
    assert schedule.current.round == 2
    stopping.waited = stopping.patience
    assert not schedule.end_in_vain("id", stopping, over=schedule.advance(), waits=True)


def test_a_phase_in_vain_that_has_had_its_length_is_not_ended_twice():
    schedule = Schedule(ScheduleConfig(rounds=2, id_length=1, llm_length=2), ("id", "llm"))
    assert not schedule.end_in_vain("id", out_of_patience(), over=schedule.advance())
    assert play(schedule) == [(1, "llm"), (1, "llm"), (2, "id"), (2, "llm"), (2, "llm")]


def test_where_phases_are_counted_in_steps_the_first_in_vain_ends_the_side():
    schedule = Schedule(ScheduleConfig(rounds=2, unit="steps", id_length=1, llm_length=1), ("id", "llm"))
    assert schedule.end_in_vain("id", out_of_patience(), over=schedule.advance())
    assert play(schedule) == [(1, "llm"), (2, "llm")]


@pytest.mark.parametrize("go_on", [Schedule.advance, Schedule.end_turn])
def test_going_past_the_end_is_an_error(go_on):
    schedule = Schedule(ScheduleConfig(rounds=1, id_length=1), ("id",))
    schedule.advance()
    with pytest.raises(RuntimeError):
        go_on(schedule)


@given(
    rounds=st.integers(1, 4),
    id_length=st.integers(1, 3),
    llm_length=st.integers(1, 3),
    cut=st.integers(0, 30),
    stop_at=st.integers(0, 30),
)
def test_a_saved_schedule_goes_on_as_the_uninterrupted_one(rounds, id_length, llm_length, cut, stop_at):
    config = ScheduleConfig(rounds=rounds, id_length=id_length, llm_length=llm_length)

    def run(interrupt):
        schedule, played = Schedule(config, ("id", "llm")), []
        while (turn := schedule.current) is not None:
            if len(played) == stop_at:
                schedule.stop("id")
                if schedule.current is None:
                    break
                turn = schedule.current
            if interrupt and len(played) == cut:
                state = schedule.state_dict()
                schedule = Schedule(config, ("id", "llm"))
                schedule.load_state_dict(state)
            played.append(turn)
            schedule.advance()
        return played

    assert run(interrupt=True) == run(interrupt=False)
