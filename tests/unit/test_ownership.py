"""Ownership: who may be active, from what etcd says. Each row is a case; a lost answer is never a death."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.ownership import Intent, Me, Verdict, View, decide
from reconciler.records import Death, Status
from resources.kind import Role
from tests.unit.support import NOW, boot_id, owned, ready_target, view

TO_B = {"primary": "hostb"}
AWAY = {"hosts": ["hostb", "hostc"]}


def me(host: str = "hosta", boot: int = 1, **memory: Any) -> Me:
    return Me(host, boot_id(host, boot), **memory)


def died(host: str, boot: int = 1, proof: Any = "confirmed") -> dict[tuple[str, str], Death]:
    death = Death(host=host, boot_id=boot_id(host, boot), proof=proof, by="ada", at=NOW)
    return {(host, boot_id(host, boot)): death}


HELD = me(epoch=7, holds=True)
BLINKS = {"hostb": ready_target(10, "container/nfs cannot be read: libvirtd does not answer", unreadable=True)}
AUTOMATIC = {"failover": "automatic"}


@pytest.mark.parametrize(
    ("case", "seen", "who", "role", "intent"),
    [
        ("nobody owns it, it is mine to have", view(), me(), Role.ACTIVE, Intent.CLAIM),
        ("nobody owns it, it is another's to have", view(), me("hostb"), Role.STANDBY, Intent.NONE),
        ("I am not one of its hosts", view(), me("hostc"), Role.ABSENT, Intent.NONE),
        ("I own it and am to", view(owned("hosta")), HELD, Role.ACTIVE, Intent.HOLD),
        ("I hold nothing yet in my epoch", view(owned("hosta")), me(epoch=7), Role.ACTIVE, Intent.HOLD),
        ("found as mine with things held: adopted", view(owned("hosta")), me(holds=True), Role.ACTIVE, Intent.HOLD),
        ("found as mine with nothing held", view(owned("hosta")), me(), Role.ACTIVE, Intent.CLAIM),
        (
            "mine, of an epoch before mine that I hold nothing of",
            view(owned("hosta", 8)),
            me(epoch=7),
            Role.ACTIVE,
            Intent.CLAIM,
        ),
        (
            "mine, though its release was sent",
            view(owned("hosta")),
            me(given_up=7, holds=True),
            Role.ACTIVE,
            Intent.CLAIM,
        ),
        (
            "its release was sent and it is another's to have",
            view(owned("hosta"), fields=TO_B),
            me(given_up=7, holds=True),
            Role.STANDBY,
            Intent.RELEASE,
        ),
        (
            "found as mine with nothing held, another's to have",
            view(owned("hosta"), fields=TO_B),
            me(),
            Role.STANDBY,
            Intent.RELEASE,
        ),
        (
            "the target is ready for this very revision",
            view(owned("hosta"), fields=TO_B, statuses={"hostb": ready_target()}),
            HELD,
            Role.STANDBY,
            Intent.RELEASE,
        ),
        (
            "the target was ready for an older revision",
            view(owned("hosta"), fields=TO_B, statuses={"hostb": ready_target(9)}),
            HELD,
            Role.ACTIVE,
            Intent.HOLD,
        ),
        (
            "the target has said nothing",
            view(owned("hosta"), fields=TO_B),
            HELD,
            Role.ACTIVE,
            Intent.HOLD,
        ),
        (
            "the target is not ready",
            view(owned("hosta"), fields=TO_B, statuses={"hostb": ready_target(10, "gate ping is shut")}),
            HELD,
            Role.ACTIVE,
            Intent.HOLD,
        ),
        (
            "the target cannot read all of it, and nothing is touched yet",
            view(owned("hosta"), fields=TO_B, statuses=BLINKS),
            HELD,
            Role.ACTIVE,
            Intent.HOLD,
        ),
        (
            "the target cannot read all of it, and it is half down here",
            view(owned("hosta"), fields=TO_B, statuses=BLINKS),
            me(epoch=7, holds=True, begun=True),
            Role.STANDBY,
            Intent.RELEASE,
        ),
        (
            "it is half down here, and now there is a reason why the target cannot have it",
            view(owned("hosta"), fields=TO_B, statuses={"hostb": ready_target(10, "gate ping is shut")}),
            me(epoch=7, holds=True, begun=True),
            Role.ACTIVE,
            Intent.HOLD,
        ),
        (
            "its host is being shut down: it moves first, where it can",
            view(owned("hosta"), fields=AUTOMATIC),
            me(epoch=7, holds=True, leaving=True),
            Role.ACTIVE,
            Intent.HOLD,
        ),
        (
            "its host is being shut down and nobody has taken it",
            view(owned("hosta"), fields=AUTOMATIC),
            me(epoch=7, holds=True, leaving=True, lets_go=True),
            Role.STANDBY,
            Intent.RELEASE,
        ),
        (
            "its host is being shut down, and a human decides where it goes",
            view(owned("hosta")),
            me(epoch=7, holds=True, leaving=True, lets_go=True),
            Role.ACTIVE,
            Intent.HOLD,
        ),
        ("nobody owns it, and I am being shut down", view(), me(leaving=True), Role.STANDBY, Intent.NONE),
        (
            "the target was ready, and its agent has gone since",
            view(owned("hosta"), fields=TO_B, sessions="hosta", statuses={"hostb": ready_target()}),
            HELD,
            Role.ACTIVE,
            Intent.HOLD,
        ),
        (
            "the target is ready, and I cannot be sure of my session",
            view(owned("hosta"), fields=TO_B, statuses={"hostb": ready_target()}),
            me(epoch=7, holds=True, connected=False),
            Role.ACTIVE,
            Intent.HOLD,
        ),
        (
            "I own it and am no longer one of its hosts",
            view(owned("hosta"), fields=AWAY, sessions="hosta hostb", statuses={"hostb": ready_target()}),
            HELD,
            Role.ABSENT,
            Intent.RELEASE,
        ),
        ("its owner lives", view(owned("hostb")), me(), Role.STANDBY, Intent.NONE),
        ("its owner is silent", view(owned("hostb"), sessions="hosta"), me(), Role.STANDBY, Intent.NONE),
        (
            "its owner's death is proven",
            view(owned("hostb"), sessions="hosta", deaths=died("hostb")),
            me(),
            Role.ACTIVE,
            Intent.CLAIM,
        ),
        (
            "another incarnation of its owner died",
            view(owned("hostb", boot=2), sessions="hosta", deaths=died("hostb", 1)),
            me(),
            Role.STANDBY,
            Intent.NONE,
        ),
        ("its owner has rebooted", view(owned("hostb", boot=0)), me(), Role.ACTIVE, Intent.CLAIM),
        ("its owner is dead, and it is not mine", view(owned("hosta", boot=0)), me("hostb"), Role.STANDBY, Intent.NONE),
        ("I owned it before I rebooted", view(owned("hosta", boot=0)), me(), Role.ACTIVE, Intent.CLAIM),
        (
            "I owned it before I rebooted, another's now",
            view(owned("hosta", boot=0), fields=TO_B),
            me(),
            Role.STANDBY,
            Intent.NONE,
        ),
    ],
)
def test_a_case(case: str, seen: View, who: Me, role: Role, intent: Intent) -> None:
    verdict = decide(seen, who)
    assert (verdict.role, verdict.intent) == (role, intent), case


def test_the_epoch_to_act_in_is_the_keys_and_only_of_one_who_holds() -> None:
    assert decide(view(owned("hosta", 9)), me(epoch=9)).epoch == 9
    assert decide(view(owned("hosta", 9)), me()).epoch == 0
    assert decide(view(), me()).epoch == 0


@pytest.mark.parametrize(
    ("seen", "who", "note"),
    [
        (view(owned("hosta"), fields=TO_B), HELD, "cannot move to hostb: hostb has not said yet whether it could"),
        (
            view(owned("hosta"), fields=TO_B, sessions="hosta"),
            HELD,
            "cannot move to hostb: hostb has no session: is its agent running? (systemctl status hactl-agent)",
        ),
        (
            view(owned("hosta"), fields=TO_B, statuses={"hostb": ready_target(10, "disk nfs-home is Outdated")}),
            HELD,
            "cannot move to hostb: disk nfs-home is Outdated",
        ),
        (view(owned("hosta"), fields=TO_B), me(epoch=7, connected=False), "the move to hostb waits for etcd"),
        (view(owned("hostb")), me(), "waits for hostb to put it down"),
        (
            view(owned("hostb"), sessions="hosta"),
            me(),
            "hostb owns it and does not answer; nothing proves that it is down. "
            "If you know that it is: hactl confirm-dead hostb",
        ),
        (view(owned("hostb", boot=0)), me(), "hostb has rebooted since"),
        (view(owned("hostb"), sessions="hosta", deaths=died("hostb")), me(), "hostb is dead: confirmed by ada"),
        (view(owned("hostb"), sessions="hosta", deaths=died("hostb", proof="fenced")), me(), "hostb is dead: fenced"),
    ],
)
def test_the_reason_names_the_thing_and_the_way_out(seen: View, who: Me, note: str) -> None:
    assert decide(seen, who).note == note


# -- deletion ----------------------------------------------------------------------------------------------------------

GONE = Status(role=Role.ABSENT, state="Standby", since=NOW, revision=10)
LEFT = Status(role=Role.ABSENT, state="Stopping", since=NOW, revision=10)
UNAWARE = Status(role=Role.ABSENT, state="Standby", since=NOW, revision=9)


@pytest.mark.parametrize(
    ("case", "seen", "who", "intent"),
    [
        ("the owner is the last", view(owned("hosta"), deleted=True, statuses={"hostb": GONE}), HELD, Intent.FORGET),
        (
            "something is left at the other",
            view(owned("hosta"), deleted=True, statuses={"hostb": LEFT}),
            HELD,
            Intent.NONE,
        ),
        (
            "the other has not seen it",
            view(owned("hosta"), deleted=True, statuses={"hostb": UNAWARE}),
            HELD,
            Intent.NONE,
        ),
        ("the other has said nothing", view(owned("hosta"), deleted=True), HELD, Intent.NONE),
        ("the other is not there", view(owned("hosta"), deleted=True, sessions="hosta"), HELD, Intent.FORGET),
        ("not the owner", view(owned("hosta"), deleted=True, statuses={"hosta": GONE}), me("hostb"), Intent.NONE),
        ("nobody owns it: the first", view(deleted=True, statuses={"hostb": GONE}), me(), Intent.FORGET),
        ("nobody owns it: not the first", view(deleted=True, statuses={"hosta": GONE}), me("hostb"), Intent.NONE),
        (
            "its owner is dead: the first alive",
            view(owned("hosta"), deleted=True, sessions="hostb", deaths=died("hosta")),
            me("hostb"),
            Intent.FORGET,
        ),
        ("its owner is silent", view(owned("hosta"), deleted=True, sessions="hostb"), me("hostb"), Intent.NONE),
    ],
)
def test_a_deleted_service_is_put_down_everywhere_and_forgotten_last(
    case: str, seen: View, who: Me, intent: Intent
) -> None:
    verdict = decide(seen, who)
    assert (verdict.role, verdict.intent) == (Role.ABSENT, intent), case


def test_whom_a_deletion_waits_for_is_named() -> None:
    assert decide(view(owned("hosta"), deleted=True), HELD) == Verdict(
        Role.ABSENT, Intent.NONE, "being deleted; waits for hostb"
    )
