"""A paused service: nobody begins anything, its owner leaves it as it is, and what safety demands goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Me, Verdict, decide, takeover
from reconciler.pause import still, words
from reconciler.records import Death, Epoch
from reconciler.spec import Drain, Pause
from resources.container import ContainerKind
from resources.kind import Role
from resources.machine import Address, Container
from tests.unit.support import NOW, boot_id, owned, parts, ready_target, view

TO_B = {"primary": "hostb"}
AUTOMATIC = {"failover": "automatic"}
PARTS = parts(addresses=[{"address": "192.0.2.10/24"}])
LEFT = Verdict(Role.STANDBY, Intent.NONE, hands_off=True)


def me(host: str = "hosta", boot: int = 1, **memory: Any) -> Me:
    return Me(host, boot_id(host, boot), **memory)


def died(host: str, proof: Any, *guards: str) -> dict[tuple[str, str], Death]:
    death = Death(host=host, boot_id=boot_id(host), proof=proof, by="ada", at=NOW, guards=guards)
    return {(host, boot_id(host)): death}


HELD = me(epoch=7, holds=True)


@pytest.mark.parametrize(
    ("case", "seen", "who", "intent", "note"),
    [
        ("nobody owns it", view(paused=True), me(), Intent.NONE, "nobody owns it, and nobody starts it"),
        ("I own it", view(owned("hosta"), paused=True), HELD, Intent.HOLD, ""),
        ("found as mine, held: adopted", view(owned("hosta"), paused=True), me(holds=True), Intent.HOLD, ""),
        (
            "found as mine, not held: not claimed anew",
            view(owned("hosta"), paused=True),
            me(),
            Intent.NONE,
            "it does not run here, and is not started",
        ),
        (
            "the target is ready: not released",
            view(owned("hosta"), paused=True, fields=TO_B, statuses={"hostb": ready_target()}),
            HELD,
            Intent.HOLD,
            "",
        ),
        (
            "this host has rebooted",
            view(owned("hosta", boot=0), paused=True),
            me(),
            Intent.NONE,
            "hosta has rebooted since, and nobody starts it",
        ),
        (
            "its owner is dead, and I am to have it",
            view(owned("hosta"), paused=True, sessions="hostb", fields=TO_B, deaths=died("hosta", "fenced")),
            me("hostb"),
            Intent.NONE,
            "hosta is dead: fenced, and nobody starts it",
        ),
        (
            "I own it, no etcd, and nothing is promised",
            view(owned("hosta"), paused=True),
            me(holds=True, safe=False),
            Intent.HOLD,
            "",
        ),
    ],
)
def test_nobody_begins_anything(case: str, seen: Any, who: Me, intent: Intent, note: str) -> None:
    found = decide(seen, who)
    assert (found.intent, found.note, found.hands_off) == (intent, note, True)
    assert (found.role is Role.ACTIVE) == (intent is Intent.HOLD)


def test_what_the_session_said_last_is_kept_even_so() -> None:
    """It counts the service as automatic: whoever proves a death by it takes the service once it is resumed."""
    found = decide(view(owned("hosta"), paused=True, fields=AUTOMATIC), replace(HELD, guarded=True, safe=False))
    assert (found.role, found.intent, found.hands_off) == (Role.STANDBY, Intent.NONE, False)


def test_a_host_that_was_declared_dead_puts_it_down_even_so() -> None:
    found = decide(view(owned("hosta"), paused=True, deaths=died("hosta", "confirmed")), HELD)
    assert (found.role, found.intent, found.hands_off) == (Role.STANDBY, Intent.RELEASE, False)


def test_while_it_is_paused_it_is_not_automatic() -> None:
    facts: dict[str, Any] = {"sessions": "hostb", "fields": AUTOMATIC, "deaths": died("hosta", "watchdog", "nfs")}
    ready = me("hostb", ready=True)
    assert takeover(view(owned("hosta"), **facts), ready) == "hosta is dead: its watchdog has reset it"
    assert takeover(view(owned("hosta"), paused=True, **facts), ready) == ""
    assert view(owned("hosta"), paused=True, **facts).death(owned("hosta")) == ""


def test_nothing_can_be_moved_and_it_says_how_to_go_on() -> None:
    seen = view(owned("hosta"), paused=True, statuses={"hostb": ready_target()})
    said = "nfs is paused by eva since 2026-11-24T07:00:00Z (new disks): hactl resume nfs"
    assert seen.target_obstacles("hostb") == [said]


def test_a_drained_host_is_no_target_and_it_says_how_to_go_on() -> None:
    seen = view(owned("hosta"), statuses={"hostb": ready_target()}, drained={"hostb": Drain(at=NOW, by="eva")})
    said = "hostb is drained by eva since 2026-11-24T07:00:00Z: hactl undrain hostb"
    assert seen.target_obstacles("hostb") == [said]


def test_what_goes_back_to_a_drained_host_is_let_in() -> None:
    """Its move failed: else nobody would have it."""
    back = Epoch(epoch=7, host="hostb", since=NOW)
    drained: dict[str, Any] = {"drained": {"hostb": Drain(at=NOW, by="eva")}, "statuses": {"hostb": ready_target()}}
    assert view(owned("hosta"), fields=TO_B, epoch=back, **drained).target_obstacles("hostb") == []
    assert view(owned("hosta"), epoch=back, **drained).target_obstacles("hostb") != []
    assert view(fields=TO_B, epoch=back, **drained).target_obstacles("hostb") != []


def look(*addresses: Address) -> Snapshot:
    seen = {part.id: addresses for part in PARTS}
    running = Container(defined=True, running=True, pid=1)
    return Snapshot(PARTS, {**seen, **{part.id: running for part in PARTS if isinstance(part.kind, ContainerKind)}})


def test_who_does_not_own_it_puts_down_what_it_holds_and_starts_nothing() -> None:
    there = look(Address("eth0", "192.0.2.10/24", frozenset({"permanent"})))
    assert [str(step) for step in still(there, LEFT).steps] == ["remove 192.0.2.10/24 from eth0"]
    assert still(look(), LEFT).steps == ()
    stopped = replace(look(), seen={**look().seen, "container/nfs": Container(defined=True, running=False)})
    assert still(stopped, LEFT).steps == ()


def test_its_owner_leaves_it_as_it_is() -> None:
    assert still(look(), Verdict(Role.ACTIVE, Intent.HOLD, epoch=7, hands_off=True)).steps == ()


def test_it_is_said_who_and_since_when_and_how_to_go_on() -> None:
    said = words(Pause(at=NOW, by="eva"), "nfs", ["", "the address is missing"])
    assert said == "by eva since 2026-11-24T07:00:00Z; the address is missing. To go on: hactl resume nfs"
