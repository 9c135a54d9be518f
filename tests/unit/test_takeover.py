"""Takeover: which host says that it is to have an `automatic` service whose owner is dead, and what that compares."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler import moves
from reconciler.ownership import Intent, Me, View, decide, takeover
from reconciler.records import Death, Owner
from reconciler.spec import parse_service
from reconciler.store import owner_key, service_key, session_key
from resources.kind import Role
from tests.unit.support import NOW, boot_id, hosts, machine, owned, ready_target, simulated, view

THREE = {"hosts": ["hosta", "hostb", "hostc"], "failover": "automatic"}
TWO = {"failover": "automatic"}


def dead(owner: Owner, proof: Any = "fenced", *guards: str) -> dict[str, Any]:
    death = Death(host=owner.host, boot_id=owner.boot_id, proof=proof, by="hostb", at=NOW, guards=guards)
    return {"deaths": {(owner.host, owner.boot_id): death}}


A = owned("hosta")
ME = Me("hostb", boot_id("hostb"), ready=True)
PROVEN = dead(A)


def me(**memory: Any) -> Me:
    return Me("hostb", boot_id("hostb"), **{"ready": True, **memory})


@pytest.mark.parametrize(
    ("case", "seen", "who"),
    [
        ("its owner is dead", view(A, sessions="hostb", fields=TWO, **PROVEN), ME),
        ("a watchdog's death", view(A, sessions="hostb", fields=TWO, **dead(A, "watchdog", "nfs")), ME),
        ("nobody owns it, its host is away", view(sessions="hostb", fields=TWO), ME),
        (
            "the hosts before it are not ready",
            view(
                owned("hosta"),
                sessions="hostb hostc",
                fields={**THREE, "hosts": ["hosta", "hostc", "hostb"]},
                statuses={"hostc": ready_target(10, "its disk is Inconsistent")},
                **PROVEN,
            ),
            ME,
        ),
    ],
)
def test_it_is_taken_over(case: str, seen: View, who: Me) -> None:
    assert takeover(seen, who), case


@pytest.mark.parametrize(
    ("case", "seen", "who"),
    [
        ("manual", view(A, sessions="hostb", **PROVEN), ME),
        ("nothing proves it", view(A, sessions="hostb", fields=TWO), ME),
        ("a watchdog of other services", view(A, sessions="hostb", fields=TWO, **dead(A, "watchdog", "git")), ME),
        ("its host is alive", view(A, fields=TWO, **PROVEN), ME),
        (
            "it is this host's to have anyhow",
            view(A, sessions="hostb", fields={**TWO, "primary": "hostb"}, **PROVEN),
            ME,
        ),
        ("not ready", view(A, sessions="hostb", fields=TWO, **PROVEN), me(ready=False)),
        ("no session", view(A, sessions="hostb", fields=TWO, **PROVEN), me(connected=False)),
        ("being deleted", view(A, sessions="hostb", deleted=True, fields=TWO, **PROVEN), ME),
        ("none of its hosts", view(A, sessions="hostb", fields=TWO, **PROVEN), Me("hostx", "1", ready=True)),
        (
            "a host before it is ready",
            view(
                A,
                sessions="hostb hostc",
                fields={**THREE, "hosts": ["hosta", "hostc", "hostb"]},
                statuses={"hostc": ready_target()},
                **PROVEN,
            ),
            ME,
        ),
        ("its owner lives, the wanted host is away", view(owned("hostb"), sessions="hostb", fields=TWO), ME),
    ],
)
def test_it_is_not_taken_over(case: str, seen: View, who: Me) -> None:
    assert not takeover(seen, who), case


@simulated
async def test_the_transaction_compares_all_that_it_was_decided_upon_and_says_why() -> None:
    hands = machine(hosts().hosts["hostb"])
    seen = view(A, sessions="hostb", fields=TWO, **PROVEN)
    txn = moves.take_over(seen, hands, 77, "moment", 5, "hosta is dead: fenced")
    assert txn.unchanged == {
        session_key("hostb"): 77,
        session_key("hosta"): 0,
        service_key("nfs"): seen.revision,
        owner_key("nfs"): seen.owner_revision,
    }
    assert parse_service(txn.puts[service_key("nfs")][0]).spec.wanted == "hostb"
    audit = json.loads(next(value for key, (value, _) in txn.puts.items() if "/audit/" in key))
    assert (audit["who"], audit["whence"], audit["did"]) == ("hactl agent", "hostb", "set primary=hostb")
    assert audit["why"] == "hosta is dead: fenced"


# -- the other side ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "fields", "memory", "role"),
    [
        ("nobody may take it yet", TWO, {}, Role.ACTIVE),
        ("somebody may", TWO, {"safe": False}, Role.STANDBY),
        ("nobody may take what is manual", {}, {"safe": False}, Role.ACTIVE),
        ("manual by now, automatic by the session's word", {}, {"safe": False, "guarded": True}, Role.STANDBY),
    ],
)
def test_what_may_be_taken_is_put_down(case: str, fields: dict[str, Any], memory: dict[str, Any], role: Role) -> None:
    who = Me("hosta", boot_id("hosta"), epoch=7, holds=True, **memory)
    assert decide(view(A, fields=fields), who).role is role, case


@pytest.mark.parametrize(
    ("case", "deaths", "intent"),
    [
        ("of all that it holds", dead(A), Intent.RELEASE),
        ("of this service", dead(A, "watchdog", "nfs"), Intent.RELEASE),
        ("of another", dead(A, "watchdog", "git"), Intent.HOLD),
    ],
)
def test_a_host_that_reads_of_its_own_death_puts_down_what_it_is_about(case: str, deaths: Any, intent: Intent) -> None:
    who = Me("hosta", boot_id("hosta"), epoch=7, holds=True)
    assert decide(view(A, **deaths), who).intent is intent, case
