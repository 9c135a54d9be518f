"""Records: one readable line each; what is unknown in them is ignored, what is none of them is None."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.records import Audit, Death, Epoch, Event, Owner, Record, Session, Status, Target, parse, stamp
from resources.kind import Role
from tests.unit.support import NOW, owned, session

RECORDS: list[Record] = [
    session("hosta"),
    owned("hosta", previous="hostb"),
    Epoch(epoch=7, host="hosta", since=NOW),
    Death(host="hosta", boot_id="b", proof="confirmed", by="ada", at=NOW),
    Status(role=Role.STANDBY, state="Standby", since=NOW, target=Target(ready=False, revision=3, obstacles=["a: ä"])),
    Event(at=NOW, host="hosta", kind="step", text="192.0.2.10/24 added", seconds=0.1, epoch=7),
    Audit(at=NOW, who="ada", whence="witness", what="service/nfs", did="set primary=hostb", before={"a": 1}),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_outlives_its_way_through_etcd(record: Record) -> None:
    assert parse(type(record), record.line()) == record
    assert "\n" not in record.line()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_newer_versions_fields_are_ignored(record: Record) -> None:
    newer = {**json.loads(record.line()), "something_new": {"deep": [1]}}
    assert parse(type(record), json.dumps(newer)) == record


@pytest.mark.parametrize("model", [Session, Owner, Epoch, Death, Status, Event, Audit])
@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "nonsense", '{"epoch": "many"}', "[" * 10_000, '"\\ud800"', "\ud800", "\x00"]
)
def test_somebody_elses_garbage_is_none(model: type[Record], text: str) -> None:
    assert parse(model, text) is None


@given(st.text(max_size=100))
def test_any_garbage_is_none(text: str) -> None:
    assert parse(Owner, text) is None


def test_what_is_empty_is_left_out() -> None:
    assert "target" not in Status(role=Role.STANDBY, state="Standby", since=NOW).line()


def test_times_are_utc_to_the_millisecond() -> None:
    moment = datetime(2026, 11, 24, 7, 2, 11, 123456, tzinfo=UTC)
    assert stamp(moment) == "2026-11-24T07:02:11.123Z"
    assert stamp(moment.astimezone(UTC)) == stamp(moment)
    assert stamp(datetime(2026, 11, 24, tzinfo=timezone(timedelta(0)))).endswith("Z")
