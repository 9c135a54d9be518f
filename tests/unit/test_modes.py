"""Modes: what a spec of each may say, who may be active by it, and which change of mode is safe."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.modes import refusal
from reconciler.ownership import Intent, Me, View, decide
from reconciler.records import Death, Status
from reconciler.spec import SpecError
from resources.kind import Role
from tests.unit.support import NOW, boot_id, manifest, owned, view

EVERYWHERE: dict[str, Any] = {"mode": "everywhere"}
ENGINE = {"patroni": 8008}
FOLLOWS: dict[str, Any] = {"mode": "follows", "engine": ENGINE, "container": {"of": "patroni"}}
HERE = {"address": "192.0.2.53/24", "host": "hosta"}


def test_what_is_everywhere_needs_no_more_than_hosts() -> None:
    spec = manifest(mode="everywhere", addresses=[HERE], units=["a.service"], checks=[{"tcp": 53}]).spec
    assert (spec.mode, spec.hosts) == ("everywhere", ("hosta", "hostb"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"primary": "hosta"}, "primary is for a service that is on one host at a time, and mode is everywhere"),
        ({"failover": "automatic"}, "it runs on all of hosta, hostb; leave failover out"),
        ({"failover": "manual"}, "leave failover out"),
        ({"deadline": 60}, "leave deadline out"),
        ({"gates": [{"ping": ["192.0.2.254"]}]}, "leave gates out"),
        ({"disks": [{"resource": "dns"}]}, "disk dns can be Primary on one host only, and mode is everywhere"),
        (
            {"addresses": [{"address": "192.0.2.53/24"}]},
            "address 192.0.2.53/24 is for one host, and mode is everywhere: say which, "
            "{address: 192.0.2.53/24, host: hosta}",
        ),
        (
            {"addresses": [{**HERE, "host": "hostc"}]},
            "address 192.0.2.53/24 is for hostc, which is not one of hosts: hosta, hostb",
        ),
        (
            {"mode": "exclusive", "addresses": [HERE]},
            "address 192.0.2.53/24 names a host, and it goes where the service goes: leave its host out",
        ),
        ({"addresses": [HERE, {**HERE, "host": "hostb"}]}, "lists 192.0.2.53 twice"),
        ({"mode": "exclusive", "engine": ENGINE}, "engine is for a service that goes where its engine leads"),
        ({"engine": ENGINE}, "engine is for a service that goes where its engine leads"),
        ({"mode": "follows"}, "give it an engine, {patroni: 8008}"),
        ({"mode": "follows", "engine": ENGINE}, "give the engine a service with mode: everywhere"),
        ({**FOLLOWS, "disks": [{"resource": "pg"}]}, "disk pg is not for mode: follows"),
        ({**FOLLOWS, "failover": "manual"}, "failover is the engine's to decide where mode is follows"),
    ],
)
def test_what_a_mode_cannot_have_is_refused_with_the_way_out(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        manifest(**{**EVERYWHERE, **fields})
    assert sentence in str(caught.value)


def seen(owner: Any = None, **more: Any) -> View:
    return view(owner, fields={**EVERYWHERE, **more.pop("fields", {})}, **more)


def said(role: Role, state: Any, revision: int = 10) -> Status:
    return Status(role=role, state=state, since=NOW, revision=revision)


GONE = said(Role.ABSENT, "Standby")
DEAD = {("hosta", boot_id("hosta")): Death(host="hosta", boot_id=boot_id("hosta"), proof="confirmed", by="ada", at=NOW)}


@pytest.mark.parametrize(
    ("case", "known", "host", "role", "intent"),
    [
        ("on one of its hosts", seen(), "hosta", Role.ACTIVE, Intent.KEEP),
        ("on the other", seen(), "hostb", Role.ACTIVE, Intent.KEEP),
        ("without any session", seen(sessions=""), "hostb", Role.ACTIVE, Intent.KEEP),
        ("though declared dead", seen(deaths=DEAD), "hosta", Role.ACTIVE, Intent.KEEP),
        ("on a host that is none of its own", seen(), "hostc", Role.ABSENT, Intent.NONE),
        ("I own it from before", seen(owned("hosta")), "hosta", Role.STANDBY, Intent.RELEASE),
        ("I own it and am to leave", seen(owned("hostc")), "hostc", Role.ABSENT, Intent.RELEASE),
        ("another owns it from before", seen(owned("hosta")), "hostb", Role.STANDBY, Intent.NONE),
        (
            "another owned it and is dead",
            seen(owned("hosta"), sessions="hostb", deaths=DEAD),
            "hostb",
            Role.STANDBY,
            Intent.RELEASE,
        ),
        ("I owned it in a boot before", seen(owned("hosta", boot=0)), "hosta", Role.STANDBY, Intent.RELEASE),
        ("deleted, the other runs it", seen(deleted=True), "hosta", Role.ABSENT, Intent.NONE),
        ("deleted, gone there", seen(deleted=True, statuses={"hostb": GONE}), "hosta", Role.ABSENT, Intent.FORGET),
        (
            "deleted, gone there by its word of before it was deleted",
            seen(deleted=True, statuses={"hostb": said(Role.ABSENT, "Standby", 9)}),
            "hosta",
            Role.ABSENT,
            Intent.NONE,
        ),
        (
            "deleted, a host without a session may run it",
            seen(deleted=True, sessions="hosta"),
            "hosta",
            Role.ABSENT,
            Intent.NONE,
        ),
        (
            "deleted, one that has left may run it",
            seen(deleted=True, statuses={"hostb": GONE, "hostc": said(Role.ACTIVE, "Ready", 8)}),
            "hosta",
            Role.ABSENT,
            Intent.NONE,
        ),
        (
            "deleted, one has left long ago",
            seen(deleted=True, statuses={"hostb": GONE, "hostc": said(Role.ABSENT, "Standby", 8)}),
            "hosta",
            Role.ABSENT,
            Intent.FORGET,
        ),
    ],
)
def test_who_is_active(case: str, known: View, host: str, role: Role, intent: Intent) -> None:
    verdict = decide(known, Me(host, boot_id(host), connected=False, safe=False))
    assert (verdict.role, verdict.intent) == (role, intent), case


def test_from_everywhere_to_exclusive_is_by_deletion_alone() -> None:
    assert refusal("dns", "exclusive", "everywhere") == refusal("dns", "everywhere", "everywhere") == ""
    assert "hactl delete dns --wait" in refusal("dns", "everywhere", "exclusive")
    assert refusal("dns", "", "everywhere") == refusal("dns", "", "") == ""
