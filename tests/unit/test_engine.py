"""Engines: what Patroni's REST API says (captured), whom the addresses follow by it, and the planned switchover."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.sim.machine import SimMachine
from reconciler.sim.patroni import Patroni
from reconciler.sim.world import Host
from resources.engine import EngineKind, EngineSpec, Member, SwitchOver
from resources.kind import Fit, Role
from resources.machine import MachineError, Unavailable
from tests.unit.support import captured, hosts, machine, simulated

KIND = EngineKind()
PRIMARY = EngineSpec(patroni=8008, domain="nfs")
REPLICA = EngineSpec(patroni=8008, role="replica", domain="nfs")


class Answering(SimMachine):
    """A host on which Patroni answers so, by path; other paths with 503 and the same body."""

    def __init__(self, answers: dict[str, tuple[int, str]]) -> None:
        super().__init__(hosts().hosts["hosta"], "test", lambda _: None)
        self._answers = answers

    async def fetch(
        self, url: str, timeout: float, domain: str | None = None, *, post: str | None = None
    ) -> tuple[int, str]:
        assert domain == "nfs"
        path = url.removeprefix("http://127.0.0.1:8008").partition("?")[0]
        return self._answers.get(path, (503, next(iter(self._answers.values()))[1]))


STARTING = '{"state": "starting", "role": "primary", "cluster_unlocked": true, "patroni": {"name": "hosta"}}'
DEMOTED = '{"state": "stopped", "role": "demoted", "patroni": {"version": "4.1.5", "scope": "site", "name": "hosta"}}'


# Of a replica whose primary is away, or from whose past it has gone astray: the same but for one word (Patroni 4.1.5,
# api.py, do_GET_patroni: `replication_state` is there where it is not empty).
APART = json.dumps({k: v for k, v in json.loads(captured("patroni-replica.json")).items() if k != "replication_state"})


@pytest.mark.parametrize(
    ("answers", "member"),
    [
        ({"/primary": (200, captured("patroni-primary.json"))}, Member("primary")),
        ({"/primary": (200, captured("patroni-paused.json"))}, Member("primary", paused=True)),
        (
            {"/primary": (503, captured("patroni-replica.json")), "/replica": (200, captured("patroni-replica.json"))},
            Member("replica"),
        ),
        (
            {"/primary": (503, captured("patroni-replica.json"))},
            Member("", "is a replica more than 16MB behind, or one that is not to be used"),
        ),
        (
            {"/primary": (503, captured("patroni-replica.json")), "/replica": (200, APART)},
            Member("replica", apart=True),
        ),
        ({"/primary": (503, STARTING)}, Member("", "is starting")),
        ({"/primary": (503, DEMOTED)}, Member("", "is stopped")),
        ({"/primary": (0, "")}, Member("", "does not answer on port 8008", answered=False)),
        ({"/primary": (503, "<html>")}, Member("", "is in an unknown state")),
        ({"/primary": (503, "[1]")}, Member("", "is in an unknown state")),
    ],
)
@simulated
async def test_what_patroni_says(answers: dict[str, tuple[int, str]], member: Member) -> None:
    assert await KIND.observe(PRIMARY, Answering(answers)) == member


@pytest.mark.parametrize(
    ("spec", "member", "fit", "problem", "obstacle"),
    [
        (PRIMARY, Member("primary"), Fit.FULLY, "", ""),
        (PRIMARY, Member("primary", paused=True), Fit.FULLY, "Patroni is paused: nobody takes over by itself", ""),
        (PRIMARY, Member("replica"), Fit.NOT, "Patroni here is a replica, not the primary", ""),
        (PRIMARY, Member("", "is starting"), Fit.NOT, "Patroni here is starting", "Patroni here is starting"),
        (REPLICA, Member("replica"), Fit.FULLY, "", ""),
        (
            PRIMARY,
            Member("replica", apart=True),
            Fit.NOT,
            "Patroni here is a replica, not the primary",
            "Patroni here is a replica that takes nothing from the primary: not yet, or it is to be rewound",
        ),
        (
            REPLICA,
            Member("primary"),
            Fit.INSTEAD,
            "it is at the primary: there is no healthy replica",
            "",
        ),
        (REPLICA, Member("", "is stopped"), Fit.NOT, "Patroni here is stopped", "Patroni here is stopped"),
    ],
)
def test_whom_the_addresses_follow(spec: EngineSpec, member: Member, fit: Fit, problem: str, obstacle: str) -> None:
    assert KIND.fit(spec, member) == fit
    found = KIND.conditions(spec, Role.ACTIVE, member)
    assert [problem in one.reason for one in found] == ([True] if problem else [])
    assert [one.broken for one in found] == ([fit is Fit.NOT] if problem else [])
    assert KIND.conditions(spec, Role.STANDBY, member) == []
    assert KIND.obstacles(spec, member) == ([obstacle] if obstacle else [])


def test_only_the_primary_is_asked_to_switch_over() -> None:
    step = KIND.switch(PRIMARY, Member("primary"), "hosta", "hostb")
    assert str(step) == "ask Patroni to switch over to hostb"
    for spec, member in ((PRIMARY, Member("replica")), (REPLICA, Member("replica")), (REPLICA, Member("primary"))):
        assert KIND.switch(spec, member, "hosta", "hostb") is None


async def with_patroni() -> tuple[Patroni, dict[str, Host]]:
    """In the container nfs of hosta, which leads, and of hostb."""
    world = hosts()
    for host in world.hosts.values():
        host.start_domain("nfs")
        place = host.place("nfs")
        assert place is not None
        host.set_unit(place, "patroni.service", "active", "running", "success")
    world.engines["nfs"] = Patroni(world, "nfs", ("hosta", "hostb"))
    return world.engines["nfs"], world.hosts


@simulated
async def test_after_a_switchover_the_other_is_the_primary() -> None:
    patroni, there = await with_patroni()
    here = machine(there["hosta"])
    await SwitchOver("", PRIMARY.url, "nfs", "hosta", "hostb").run(here)
    assert patroni.leader == "hostb"
    assert await KIND.observe(PRIMARY, here) == Member("replica")
    assert await KIND.observe(PRIMARY, machine(there["hostb"])) == Member("primary")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"refuses": "no good candidates have been found"}, MachineError, "it refuses: no good candidates have been"),
        ({"leader": "hostb"}, MachineError, "it refuses: leader name does not match"),
        ({"domain": "gone"}, Unavailable, "its API does not answer on http://127.0.0.1:8008"),
    ],
)
@simulated
async def test_a_switchover_that_is_refused_says_why(change: dict[str, Any], error: Any, words: str) -> None:
    patroni, there = await with_patroni()
    for name, value in change.items():
        setattr(patroni, name if name != "domain" else "_domain", value)
    with pytest.raises(error, match=words):
        await SwitchOver("", PRIMARY.url, "nfs", "hosta", "hostb").run(machine(there["hosta"]))
