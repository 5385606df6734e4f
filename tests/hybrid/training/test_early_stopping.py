"""Patience counts validations without improvement; ties are no improvement."""

from hybrid.training.early_stopping import EarlyStopping


def test_improvement_resets_the_patience():
    stopping = EarlyStopping(patience=2)
    assert [stopping.update(value, step) for step, value in enumerate([0.1, 0.1, 0.2, 0.1, 0.2])] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert stopping.exhausted
    assert (stopping.best, stopping.best_step) == (0.2, 2)


def test_no_patience_never_stops():
    stopping = EarlyStopping(patience=0)
    for step in range(50):
        stopping.update(0.0, step)
    assert not stopping.exhausted


def test_the_second_phase_in_vain_is_the_last():
    stopping = EarlyStopping(patience=1)
    stopping.update(0.5, 1)
    stopping.update(0.4, 2)
    assert not stopping.end_phase()
    assert not stopping.exhausted
    stopping.update(0.6, 3)  # better: what came before is forgotten
    assert not stopping.end_phase()
    stopping.update(0.6, 4)
    assert stopping.end_phase()


def test_what_begins_anew_knows_nothing_of_before():
    stopping = EarlyStopping(patience=1)
    stopping.update(0.5, 1)
    stopping.update(0.4, 2)
    stopping.end_phase()
    stopping.begin_anew()
    assert stopping == EarlyStopping(patience=1)
    assert stopping.update(0.1, 3)


def test_state_round_trip():
    stopping = EarlyStopping(patience=3)
    stopping.update(0.5, 1)
    stopping.update(0.4, 2)
    stopping.end_phase()
    stopping.update(0.4, 3)
    other = EarlyStopping(patience=3)
    other.load_state_dict(stopping.state_dict())
    assert other == stopping
    older = {"best": 0.5, "best_step": 1, "waited": 1}  # as checkpoints were before phases were counted
    other.load_state_dict(older)
    assert (other.waited, other.spent) == (1, 0)
