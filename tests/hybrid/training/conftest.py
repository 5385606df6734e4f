"""What the tests of training share."""

import shutil

import pytest


@pytest.fixture(autouse=True)
def _no_plain_models_of_other_tests(cycle):
    """Each test trains its own: what it finds must not depend on which came before."""
    shutil.rmtree(cycle.parent / "cache" / "plain", ignore_errors=True)
