"""The lab's fence agent and its BMC, by ClusterLabs' protocol, with a stand-in for the lab's power functions."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.lab import rig
from examples.lab.tools.bmc import Bmc

AGENT = rig.HERE / "guest/usr/local/sbin/fence_lab"
SECRET = "quite-secret"
POWER = '#!/bin/sh\ncase $3 in status) cat "$0.state" ;; *) [ "$2" != broken ] && echo "$3" >"$0.state" ;; esac\n'


@pytest.fixture
def bmc(tmp_path: Path) -> Iterator[Bmc]:
    """On a free port; every host is on."""
    lab = tmp_path / "lab"
    lab.write_text(POWER)
    lab.chmod(0o755)
    Path(f"{lab}.state").write_text("on\n")
    with Bmc(("127.0.0.1", 0), SECRET, str(lab)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fence(bmc: Bmc, action: str, plug: str = "hosta", password: str = SECRET) -> subprocess.CompletedProcess[str]:
    options = {"action": action, "ip": "127.0.0.1", "ipport": bmc.server_address[1], "plug": plug, "password": password}
    text = "".join(f"{name}={value}\n" for name, value in options.items())
    return subprocess.run([str(AGENT)], input=text, capture_output=True, text=True, timeout=20, check=False)


def test_power_is_cut_and_said_to_be(bmc: Bmc) -> None:
    said = [fence(bmc, action).returncode for action in ("status", "off", "status", "on", "status", "reboot", "status")]
    assert said == [0, 0, 2, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"action": "off", "password": "guessed"}, "wrong password"),
        ({"action": "off", "plug": "broken"}, "error"),
        ({"action": "off", "plug": ""}, "which host"),
        ({"action": "explode"}, "no action explode"),
    ],
)
def test_what_was_not_done_is_not_said_to_be(bmc: Bmc, options: dict[str, str], why: str) -> None:
    done = fence(bmc, **options)
    assert done.returncode == 1
    assert why in done.stderr
    assert fence(bmc, "status").returncode == 0


def test_a_bmc_that_is_away_proves_nothing(bmc: Bmc) -> None:
    bmc.shutdown()
    bmc.server_close()
    done = fence(bmc, "status")
    assert done.returncode == 1
    assert "does not answer" in done.stderr


def test_it_describes_itself(bmc: Bmc) -> None:
    assert '<resource-agent name="fence_lab"' in fence(bmc, "metadata").stdout
