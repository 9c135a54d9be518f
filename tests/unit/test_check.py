"""Checks: asked from within the container, they change nothing, and never run a program on the host."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.sim.machine import SimMachine
from reconciler.spec import SpecError
from resources.check import Answer, CheckKind, CheckSpec
from resources.kind import Role
from tests.unit.support import hosts, machine, manifest, parts, simulated

KIND = CheckKind()
TCP = CheckSpec(tcp=2049, domain="nfs")


class Netns(SimMachine):
    """Notes in whose network namespace something was asked."""

    asked: str | None = "nobody"

    async def tcp(self, address: str, port: int, timeout: float, domain: str | None = None) -> bool:
        self.asked = domain
        return True

    async def http(self, url: str, timeout: float, domain: str | None = None) -> int:
        self.asked = domain
        return int(url.rpartition("/")[2])


def runs() -> Netns:
    host = hosts().hosts["hosta"]
    host.start_domain("nfs")
    return Netns(host, "test", lambda _: None)


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ({"tcp": 80}, ""),
        ({"http": "http://127.0.0.1/204"}, ""),
        ({"http": "http://127.0.0.1/302"}, ""),
        ({"http": "http://127.0.0.1/500"}, "http://127.0.0.1/500 answers 500"),
        ({"http": "http://127.0.0.1/0"}, "http://127.0.0.1/0 answers nothing"),
    ],
)
@simulated
async def test_it_asks_from_within_the_container(check: dict[str, Any], wrong: str) -> None:
    hands = runs()
    assert await KIND.observe(CheckSpec(**check, domain="nfs"), hands) == Answer(wrong)
    assert hands.asked == "nfs"


@simulated
async def test_a_service_without_a_container_is_asked_from_the_host() -> None:
    hands = runs()
    await KIND.observe(CheckSpec(tcp=80), hands)
    assert hands.asked is None


@simulated
async def test_a_port_on_which_nothing_accepts_is_named() -> None:
    host = hosts().hosts["hosta"]
    hands = machine(host)
    assert await KIND.observe(TCP, hands) == Answer("its container does not run")
    host.start_domain("nfs")
    place = host.place("nfs")
    assert place is not None
    host.set_unit(place, "nfs-server.service", "failed", "failed")
    assert await KIND.observe(TCP, hands) == Answer("nothing accepts on TCP port 2049")


@simulated
async def test_a_programs_exit_status_is_the_answer() -> None:
    hands = runs()
    assert await KIND.observe(CheckSpec(exec=("true",), domain="nfs"), hands) == Answer()
    assert await KIND.observe(CheckSpec(exec=("false",), domain="nfs"), hands) == Answer("false exited 1: ")
    missing = await KIND.observe(CheckSpec(exec=("nosuch",), domain="nfs"), hands)
    assert missing == Answer("there is no program nosuch")


@simulated
async def test_no_spec_makes_the_host_run_a_program() -> None:
    with pytest.raises(SpecError, match=r"spec\.checks: exec runs in a container, and this service has none"):
        manifest(container=None, checks=[{"exec": ["true"]}])
    assert (await KIND.observe(CheckSpec(exec=("true",)), runs())).wrong.startswith("exec runs in a container")


@pytest.mark.parametrize("check", [{}, {"tcp": 80, "exec": ["true"]}])
def test_one_entry_asks_one_thing(check: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"spec\.checks\[0\]: a check is one of tcp, http, exec"):
        manifest(checks=[check])


def test_only_the_active_host_is_blamed_for_what_does_not_answer() -> None:
    wrong = Answer("nothing accepts on TCP port 2049")
    assert [one.reason for one in KIND.conditions(TCP, Role.ACTIVE, wrong)] == ["nothing accepts on TCP port 2049"]
    assert KIND.conditions(TCP, Role.STANDBY, wrong) == []
    assert KIND.plan(TCP, Role.ACTIVE, wrong) == []
    assert (KIND.says(TCP, wrong), KIND.says(TCP, Answer())) == (wrong.wrong, "answers")
    assert KIND.held(TCP, Answer()) == ""


def test_each_check_is_a_part_by_what_it_asks() -> None:
    checks = [{"tcp": 80}, {"http": "http://127.0.0.1/"}, {"exec": ["rpcinfo", "-p"]}]
    assert [part.id for part in parts(checks=checks) if part.kind.name == "check"] == [
        "check/tcp 80",
        "check/http http://127.0.0.1/",
        "check/exec rpcinfo -p",
    ]
