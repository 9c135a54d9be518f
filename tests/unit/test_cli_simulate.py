"""hactl simulate: a readable answer to "what happens if hosta dies now?", from the manifests alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from reconciler.cli.errors import Code
from reconciler.cli.main import run
from tests.sim.services import service

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def nfs(tmp_path: Path) -> str:
    file = tmp_path / "nfs.yaml"
    file.write_text(yaml.safe_dump(service("nfs", failover="automatic").model_dump(mode="json", exclude_none=True)))
    return str(file)


def test_a_manual_service_waits_for_a_human(capsys: Capture) -> None:
    assert run(["simulate", str(EXAMPLES / "hosts.yaml"), str(EXAMPLES / "nfs.yaml")]) == 0
    out = capsys.readouterr().out
    assert "   10.0s  >> power hosta off\n" in out
    assert "nfs is not Ready: nfs does not run on hosta.\n" in out
    assert "failover is manual: a human decides (hactl confirm-dead hosta; hactl set nfs primary=hostb)." in out


def test_an_automatic_one_is_taken_over_once_its_watchdog_has_reset_the_host(nfs: str, capsys: Capture) -> None:
    assert run(["simulate", nfs, "--watchdog", "10"]) == 0
    out = capsys.readouterr().out
    assert "hostb    decides nfs hostb takes it over: hosta is dead: its watchdog has reset it\n" in out
    assert "nfs is up on hostb.\n" in out
    assert "Clients were without it for " in out


def test_faults_are_told_in_their_order(nfs: str, capsys: Capture) -> None:
    faults = ["--fault", "40s link hosta lan up", "--fault", "5s link hosta lan down"]
    assert run(["simulate", nfs, *faults]) == 0
    out = capsys.readouterr().out
    assert out.index(">> link hosta lan down") < out.index(">> link hosta lan up")
    assert "nfs is up on hosta.\n" in out


def test_the_failsafe_keeps_it_up_without_etcd(tmp_path: Path, nfs: str, capsys: Capture) -> None:
    faults = ["--fault", "10s member all stopped", "--watchdog", "10", "--for", "60"]
    assert run(["simulate", str(EXAMPLES / "hosts.yaml"), nfs, "--failsafe", *faults]) == 0
    out = capsys.readouterr().out
    assert "removed" not in out
    assert "nfs is up on hosta.\n" in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--fault", "10s fly hosta"], "there is no fly; there are: "),
        (["--fault", "power hosta off"], "is none: "),
        (["--fault", "10s power hostx off"], "cannot be done: "),
        (["--fault", "10s power hosta sideways"], "cannot be done: "),
        (["--fault", "10s power hosta"], "cannot be done: "),
    ],
)
def test_a_fault_that_is_none_is_told(argv: list[str], said: str, nfs: str, capsys: Capture) -> None:
    assert run(["simulate", nfs, *argv]) == Code.WRONG
    assert said in capsys.readouterr().err


def test_files_without_a_service_are_told(capsys: Capture) -> None:
    assert run(["simulate", str(EXAMPLES / "hosts.yaml")]) == Code.WRONG
    assert "there is no service in these files" in capsys.readouterr().err
