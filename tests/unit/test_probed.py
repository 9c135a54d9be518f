"""What looks in a row come to: up after `rise` that pass, down after `fall` that fail, and nothing before either."""

from __future__ import annotations

import pytest

from resources.check import Answer, CheckKind, CheckSpec
from resources.kind import Pending
from resources.probed import SHOWN, Looks, Pace

PACE = Pace(interval=10, again=2, waits=(5, 10, 30), lasts=70, rise=2, fall=3)


def looks(told: str, pace: Pace = PACE) -> Looks[str]:
    """`+` passed, `-` failed; what is seen of each is its number."""
    found: Looks[str] = Looks()
    for number, one in enumerate(told):
        found = found.after(str(number), pace, passed=one == "+")
    return found


@pytest.mark.parametrize(
    ("told", "up", "rests_on", "times"),
    [
        ("", None, None, 0),
        ("+", None, None, 0),
        ("-", None, "0", 0),
        ("+-+-", None, "3", 0),
        ("++", True, "1", 0),
        ("---", False, "2", 1),
        ("++--", True, "1", 0),
        ("++--+", True, "4", 0),
        ("++---", False, "4", 1),
        ("++---+", False, "4", 0),
        ("++---++", True, "6", 0),
        ("++------", False, "7", 2),
    ],
)
def test_it_takes_as_many_looks_in_a_row_as_its_pace_says(
    told: str, up: bool | None, rests_on: str | None, times: int
) -> None:
    found = looks(told)
    assert (found.up, found.seen, found.times(PACE)) == (up, rests_on, times)


def test_each_look_that_follows_one_that_failed_is_more_patient() -> None:
    assert [PACE.wait(failed) for failed in range(5)] == [5, 10, 30, 30, 30]


def test_only_the_last_looks_are_remembered() -> None:
    assert looks("-" + "+" * SHOWN).last == (True,) * SHOWN


CHECK, NFS = CheckKind(), CheckSpec(tcp=2049, domain="nfs")


def judged(told: str, check: CheckSpec = NFS) -> Answer | Pending:
    found: Looks[Answer] = Looks()
    for one in told:
        seen = Answer("" if one == "+" else "nothing accepts on TCP port 2049")
        found = found.after(seen, CHECK.pace(check), passed=CHECK.passed(check, seen))
    return CHECK.judged(check, found)


def test_a_check_that_fails_now_and_then_is_not_broken_and_says_so() -> None:
    seen = judged("+++-++--+")
    assert isinstance(seen, Answer)
    assert (seen.wrong, CHECK.says(NFS, seen)) == ("", "answers; failed 3 of the last 9")
    assert CHECK.says(NFS, Answer()) == "answers"


def test_before_its_first_judgement_it_is_pending_with_what_was_found() -> None:
    assert judged("") == Pending()
    found = judged("-")
    assert isinstance(found, Pending)
    assert found.clause("check/tcp 2049") == ("check/tcp 2049 has not answered yet: nothing accepts on TCP port 2049")


def test_how_often_over_it_is_down_counts_in_its_own_fall() -> None:
    few = CheckSpec(tcp=2049, domain="nfs", fall=2)
    assert [
        CHECK.times_down(few, seen) for told in ("+--", "+-----") if isinstance(seen := judged(told, few), Answer)
    ] == [
        1,
        2,
    ]
