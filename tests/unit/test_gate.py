"""Gates: what must answer before a move begins. As many as are needed, and no dead one delays the others for long."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.sim.machine import SimMachine
from reconciler.spec import SpecError
from resources.gate import Answers, GateField, GateKind
from resources.kind import Role
from resources.machine import Unavailable
from tests.unit.support import hosts, machine, manifest, parts, simulated

KIND = GateKind()
A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


async def ask(gate: GateField, *alive: str) -> tuple[Answers, float]:
    """The answers, and how many seconds they took."""
    world = hosts()
    world.neighbours.update(alive)
    hands = machine(world.hosts["hostb"])
    began = hands.monotonic()
    return await KIND.observe(gate, hands), hands.monotonic() - began


@pytest.mark.parametrize(
    ("need", "alive", "opens"),
    [
        ("all", [A, B, C], True),
        ("all", [A, C], False),
        ("any", [C], True),
        ("any", [], False),
        (2, [A, C], True),
        (2, [B], False),
        (3, [A, B, C], True),
    ],
)
@simulated
async def test_it_opens_when_as_many_answer_as_are_needed(need: Any, alive: list[str], opens: bool) -> None:
    gate = GateField(ping=(A, B, C), need=need, attempts=(1, 2))
    seen, _ = await ask(gate, *alive)
    assert (KIND.obstacles(gate, seen) == []) is opens
    assert (KIND.says(gate, seen) == "passed") is opens


@simulated
async def test_who_does_not_answer_is_named() -> None:
    gate = GateField(ping=(A, B), attempts=(1, 2))
    seen, _ = await ask(gate, A)
    assert seen == Answers((A,), (B,))
    assert KIND.obstacles(gate, seen) == [
        "gate ping 192.0.2.1, 192.0.2.2 is shut: no answer from 192.0.2.2 (asked 2 times)"
    ]
    assert KIND.says(gate, seen) == "no answer from 192.0.2.2 (asked 2 times)"


@simulated
async def test_where_any_will_do_a_dead_one_costs_one_attempt() -> None:
    _, seconds = await ask(GateField(ping=(A, B), need="any", attempts=(5, 10, 30)), B)
    assert seconds < 5.1


@simulated
async def test_no_number_of_dead_ones_makes_it_unknown() -> None:
    gate = GateField(ping=tuple(f"192.0.2.{last}" for last in range(1, 30)), attempts=(5, 10, 30))
    seen, seconds = await ask(gate)
    assert seconds < KIND.patience
    assert len(seen.silent) == 29


@simulated
async def test_a_late_answer_is_waited_for() -> None:
    world = hosts()
    hands = machine(world.hosts["hostb"])

    class Late(SimMachine):
        async def ping(self, address: str, timeout: float) -> bool:
            await self.sleep(min(timeout, 7.0))
            return timeout > 7

    late = Late(world.hosts["hostb"], "test", lambda _: None)
    assert await KIND.observe(GateField(ping=(A,), attempts=(5, 10)), late) == Answers((A,), ())
    assert await KIND.observe(GateField(ping=(A,), attempts=(5,)), hands) == Answers((), (A,))


@simulated
async def test_one_that_cannot_be_asked_is_shut_and_says_why() -> None:
    class NoPing(SimMachine):
        async def ping(self, address: str, timeout: float) -> bool:
            raise Unavailable("there is no program ping")

    gate = GateField(ping=(A,))
    seen = await KIND.observe(gate, NoPing(hosts().hosts["hostb"], "test", lambda _: None))
    assert KIND.obstacles(gate, seen) == ["gate ping 192.0.2.1 is shut: there is no program ping"]


@simulated
async def test_a_port_or_a_page_may_be_a_gate() -> None:
    gate = GateField.model_validate({"tcp": {"address": A, "port": 22}, "attempts": [1]})
    assert (await ask(gate, A))[0] == Answers((f"{A} port 22",), ())
    assert KIND.obstacles(gate, (await ask(gate))[0]) == [
        "gate tcp 192.0.2.1 port 22 is shut: no answer from 192.0.2.1 port 22 (asked once)"
    ]
    page = GateField(http=f"http://{A}/", attempts=(1,))
    assert (await ask(page))[0] == Answers((), (f"http://{A}/",))


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        ({}, "a gate is one of ping, tcp, http"),
        ({"ping": [A], "http": "http://192.0.2.1/"}, "a gate is one of ping, tcp, http"),
        ({"ping": [A, B], "need": 3}, "need is 3, and there are 2 to ask"),
        ({"tcp": {"address": A, "port": 22}, "need": 2}, "need is 2, and there is 1 to ask"),
        ({"ping": [A, A]}, "lists 192.0.2.1 twice"),
        ({"ping": ["switch.example.org"]}, "names are not asked for, the DNS may be what has failed"),
    ],
)
def test_a_gate_that_cannot_open_is_refused(gate: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        manifest(gates=[gate])


def test_a_gate_is_for_the_target_alone_and_asks_nothing_of_anyone() -> None:
    [part] = [part for part in parts(gates=[{"ping": [A]}]) if part.kind.name == "gate"]
    shut = Answers((), (A,))
    assert part.id == "gate/ping 192.0.2.1"
    assert part.kind.for_target
    assert KIND.plan(part.spec, Role.ACTIVE, shut) == []
    assert KIND.conditions(part.spec, Role.ACTIVE, shut) == []
    assert KIND.held(part.spec, shut) == ""
