"""Checks: asked from within the container, they change nothing, and never run a program on the host."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from reconciler.sim.machine import SimMachine
from reconciler.spec import SpecError
from resources.check import PROGRAMS, Answer, CheckField, CheckKind, CheckSpec
from resources.kind import Role
from resources.machine import Finished
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
    for check, way in (({"exec": ["true"]}, "exec"), ({"ask": "ldap"}, "ask")):
        with pytest.raises(SpecError, match=rf"spec\.checks: {way} runs in a container, and this service has none"):
            manifest(container=None, checks=[check])
    assert (await KIND.observe(CheckSpec(exec=("true",)), runs())).wrong.startswith("exec runs in a container")


ONE = "spec.checks[0]: a check is one of tcp, http, exec, ask: write one list entry for each"


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        ({}, ONE),
        ({"tcp": 80, "exec": ["true"]}, ONE),
        ({"tcp": 80, "ask": "ssh"}, ONE),
        (
            {"tcp": 80, "arguments": ["-v"]},
            "spec.checks[0]: arguments are for ask; write those of a program of your own",
        ),
        ({"ask": "smtp"}, "spec.checks[0].ask: is 'smtp'; it can be dns, ldap, nfs, pg_isready or ssh"),
        ({"tcp": 80, "interval": 0}, "spec.checks[0].interval: should be greater than or equal to 1, not 0"),
        ({"tcp": 80, "timeout": 90}, "spec.checks[0].timeout: should be less than or equal to 50, not 90"),
        ({"tcp": 80, "fall": 0}, "spec.checks[0].fall: should be greater than or equal to 1, not 0"),
        ({"tcp": 80, "raise": 2}, "spec.checks[0].raise: there is no such field; did you mean rise?"),
    ],
)
def test_what_is_no_check_is_refused_with_the_field_and_the_way_out(check: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        manifest(checks=[check])
    assert str(caught.value).startswith(sentence)


def waits(**written: Any) -> tuple[tuple[float, ...], int]:
    """How long looks in a row wait, and how many make it down."""
    pace = KIND.pace(CheckSpec(tcp=80, **written))
    return tuple(pace.wait(failed) for failed in range(pace.fall)), pace.fall


def test_by_default_three_looks_of_5_10_and_30_seconds_make_it_down() -> None:
    assert waits() == ((5, 10, 30), 3)
    assert waits(timeout=2) == ((2, 2, 2), 3)
    assert waits(fall=1) == ((5,), 1)
    assert waits(fall=5) == ((5, 10, 30, 30, 30), 5)
    assert waits(timeout=1, fall=2) == ((1, 1), 2)


def test_every_program_with_a_name_can_be_written_and_is_called_as_its_table_says() -> None:
    named = get_args(get_args(CheckField.model_fields["ask"].annotation)[0])
    assert named == tuple(sorted(PROGRAMS))
    for name in named:
        assert CheckField(ask=name).argv == PROGRAMS[name].argv(None)
    assert CheckField(ask="pg_isready", arguments=("-p", "5433")).argv == ("pg_isready", "-p", "5433")
    assert CheckField(ask="dns", arguments=("example.org", "SOA")).argv[-3:] == ("+short", "example.org", "SOA")
    assert "ldap://127.0.0.1" not in CheckField(ask="ldap", arguments=("-H", "ldapi:///")).argv


def test_an_argument_is_one_whatever_is_in_it() -> None:
    """No shell ever sees it."""
    assert CheckField(ask="ssh", arguments=("; rm -rf /",)).argv == (
        "ssh-keyscan",
        "-T",
        "3",
        "; rm -rf /",
        "127.0.0.1",
    )


def test_only_the_active_host_is_blamed_for_what_does_not_answer() -> None:
    wrong = Answer("nothing accepts on TCP port 2049")
    assert [one.reason for one in KIND.conditions(TCP, Role.ACTIVE, wrong)] == ["nothing accepts on TCP port 2049"]
    assert KIND.conditions(TCP, Role.STANDBY, wrong) == []
    assert KIND.plan(TCP, Role.ACTIVE, wrong) == []
    assert (KIND.says(TCP, wrong), KIND.says(TCP, Answer())) == (wrong.wrong, "answers")
    assert KIND.held(TCP, Answer()) == ""


def test_each_check_is_a_part_by_what_it_asks() -> None:
    checks: list[dict[str, Any]] = [{"tcp": 80}, {"http": "http://127.0.0.1/"}, {"exec": ["rpcinfo", "-p"]}]
    checks += [{"ask": "dns"}, {"ask": "dns", "arguments": ["example.org", "SOA"]}]
    assert [part.id for part in parts(checks=checks) if part.kind.name == "check"] == [
        "check/tcp 80",
        "check/http http://127.0.0.1/",
        "check/exec rpcinfo -p",
        "check/ask dns",
        "check/ask dns example.org SOA",
    ]


DOCS = (Path(__file__).resolve().parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")


def test_what_the_documentation_shows_can_be_written() -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)]
    checks, gates = blocks
    manifest(**checks)
    manifest(**gates)


def test_every_program_with_a_name_is_documented_as_it_is_called_with_an_example() -> None:
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in DOCS.splitlines() if "{ask: " in line]
    told = {row[0]: row for row in rows if len(row) == 5}
    assert sorted(told) == sorted(PROGRAMS)
    for name, (_, called, _, _, example) in told.items():
        assert tuple(shlex.split(re.sub(r"\[(.*?)\]", r"\1", called))) == PROGRAMS[name].argv(None)
        assert CheckField.model_validate(yaml.safe_load(example)).ask == name


def test_what_a_program_said_is_one_line() -> None:
    assert Finished(1, "", "Your configuration says so,\n  but no such ref was fetched.\n").said == (
        "Your configuration says so, but no such ref was fetched."
    )
    assert Finished(1, "out of it\n", "\n").said == "out of it"
    assert len(Finished(1, "x" * 999, "").said) == 200
