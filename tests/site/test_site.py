"""A whole site: every example with its real daemon and real clients, which use all of it all the time.

Not part of `make test`: it needs a lab of its own, with more memory (`make site-test`). Its matrix: docs/site.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.lab import rig, site
from tests.site.matrix import Matrix

PATIENT = 9.0  # seconds more than hactl alone takes to start on the busy lab; a resolver that is waited for takes ten
MATRIX = Path(__file__).resolve().parents[2] / "docs" / "site.md"


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[site.Clients]:
    """Everything Ready on hosta, and used."""
    rig.show("up")
    try:
        site.provision(tmp_path_factory.mktemp("site"))
        rig.apply(site.EXAMPLES / "hosts.yaml")
        rig.apply(site.manifests())
        for name in site.EXCLUSIVE:
            rig.hactl("set", name, "failover=automatic")
        site.all_ready(seconds=600, targets=False)
        for name in site.MOVED:
            if site.states()[name]["owner"] != "hosta":
                rig.hactl("set", name, "primary=hosta", "--wait")
        site.all_ready("hosta")
        site.seed()
        with site.used() as clients:
            yield clients
    finally:
        if not os.environ.get("HACTL_LAB_KEEP"):
            rig.show("down")


def test_a_whole_site_moves_dies_and_comes_back_and_nothing_is_lost(clients: site.Clients) -> None:
    matrix = Matrix(clients)
    with matrix.phase("started, all is well"):
        clients.all_used()

    with matrix.phase("drain of its host"):
        rig.hactl("drain", "hosta", "--at-once", "2")
        site.all_ready("hostb", targets=False)
        clients.all_used()
    rig.hactl("undrain", "hosta")
    site.all_ready("hostb")

    with matrix.phase("power cut of its host"):
        rig.lab("power", "hostb", "off")
        rig.until("all is taken over", lambda: taken_over("hosta"), 300, every=1)
        clients.all_used()

    with matrix.phase("the host returns"):
        rig.lab("power", "hostb", "on")
        site.all_ready("hosta", 600)
        clients.all_used()

    with matrix.phase("the morning: its host is shut down"):
        rig.lab("exec", "hosta", "--", "systemctl", "poweroff", check=False)
        waited = until_taken_over("hostb")
        clients.all_used()
    assert sorted(waited)[-2] < PATIENT, waited  # this machine stands still for twenty seconds now and then

    with matrix.phase("it is back, and all goes home"):
        rig.until("hosta is off", lambda: rig.lab("power", "hosta", "status").stdout.strip() == "off", 120)
        rig.lab("power", "hosta", "on")
        site.all_ready("hostb", 600)
        rig.hactl("drain", "hostb", "--at-once", "2")
        rig.hactl("undrain", "hostb")
        site.all_ready("hosta")
        clients.all_used()

    found = clients.verify()
    if os.environ.get("HACTL_WRITE_MATRIX"):
        MATRIX.write_text(matrix.page(found))
    assert {name: one["lost"] for name, one in found.items() if one["lost"]} == {}
    assert {name: one["wrong"] for name, one in found.items() if one["wrong"]} == {}
    assert all(one["uses"] > 10 for one in found.values()), found


def until_taken_over(host: str) -> list[float]:
    """Seconds that a root login with `hactl status` took on that host, more than one with `hactl --version`, one after
    the other until all is there: the names, homes and users that were served by the host that goes were never waited
    for."""
    waited: list[float] = []

    def took(*command: str) -> float:
        began = time.monotonic()
        rig.on(host, *command)
        return time.monotonic() - began

    def look() -> bool:
        alone = took("hactl", "--version")
        waited.append(took("hactl", "status") - alone)
        return taken_over(host)

    rig.until("all is taken over", look, 300, every=1)
    return waited


def taken_over(host: str) -> bool:
    """All that only one can have."""
    now = site.states()
    return all(now.get(name, {}).get("state") == "Ready" and now[name]["owner"] == host for name in site.MOVED)
