"""The protocol keeps rules 1 to 3 in every state that can be reached; broken in one place, it does not.

`pytest tests/model -s` prints the shortest trace of each flaw.
"""

from __future__ import annotations

import pytest

from tests.model import copies, holding
from tests.model.explore import explore
from tests.model.sets import COPIES, FLAWED_COPIES, HOLDING, Set

pytestmark = pytest.mark.long

FLAWS = [(one, flaw) for one in HOLDING for flaw in one.flaws]


@pytest.mark.parametrize("one", HOLDING, ids=lambda one: one.name)
def test_one_holder(one: Set) -> None:
    result = explore(holding.model(one.bounds, waiting=one.waiting))
    assert not result.wrong, str(result)
    assert not result.left


def test_nothing_lost() -> None:
    result = explore(copies.model(COPIES))
    assert not result.wrong, str(result)
    assert not result.left


@pytest.mark.parametrize(("one", "flaw"), FLAWS, ids=[flaw.value for _, flaw in FLAWS])
def test_two_holders_with(one: Set, flaw: holding.Flaw) -> None:
    result = explore(holding.model(one.bounds, flaw, waiting=one.waiting))
    print(f"\n{flaw}\n{result}")
    assert result.wrong.startswith("rule 1"), f"not seen: {result}"


@pytest.mark.parametrize("flaw", copies.Flaw, ids=lambda flaw: flaw.value)
def test_lost_with(flaw: copies.Flaw) -> None:
    result = explore(copies.model(FLAWED_COPIES, flaw))
    print(f"\n{flaw}\n{result}")
    assert result.wrong.startswith(("rule 2", "rule 3")), f"not seen: {result}"


def test_each_flaw_is_in_a_set() -> None:
    assert sorted(flaw for _, flaw in FLAWS) == sorted(holding.Flaw)
