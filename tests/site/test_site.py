"""A whole site: every example with its real daemon and real clients, which use all of it all the time.

Not part of `make test`: it needs a lab of its own, with more memory (`make site-test`). Its matrix: docs/site.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.lab import rig, site
from tests.site.matrix import Matrix

ADDRESSES = {"hostb": ("192.0.2.2", "2001:db8::2")}
SERVES = (53, 111, 389, 636, 2049)  # ports of DNS, rpcbind, LDAP with and without TLS, NFS
ASKED = "/run/lab-asked"
LATE = "{host} was switched off: it had not ended its shutdown in two minutes (examples/lab/README.md: traps)."
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
        rig.until("all is taken over", lambda: taken_over("hosta"), 300, every=3)
        clients.all_used()

    with matrix.phase("the host returns"):
        rig.lab("power", "hostb", "on")
        site.all_ready("hosta", 600)
        clients.all_used()

    with matrix.phase("the morning: its host is shut down"):
        with asks_nobody("hostb"):
            rig.lab("exec", "hosta", "--", "systemctl", "poweroff", check=False)
            matrix.logins = until_taken_over("hostb")
        clients.all_used()

    with matrix.phase("it is back, and all goes home"):
        if not went_off("hosta"):
            matrix.remarks.append(LATE.format(host="hosta"))
            rig.lab("power", "hosta", "off")
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


def went_off(host: str, seconds: float = 120) -> bool:
    try:
        rig.until(f"{host} is off", lambda: rig.lab("power", host, "status").stdout.strip() == "off", seconds)
    except rig.LabError:
        return False
    return True


@contextmanager
def asks_nobody(host: str) -> Iterator[None]:
    """That host itself, with its agent, its logins and its hactl, sends nothing to a server of names, users or homes:
    who asks nobody waits for nobody. What its containers ask has addresses of their own."""
    sources = " or ".join(f"src host {address}" for address in ADDRESSES[host])
    ports = " or ".join(f"dst port {port}" for port in SERVES)
    watch = ("systemd-run", "--quiet", "--collect", "--unit=lab-asked", "-p", f"StandardOutput=truncate:{ASKED}")
    rig.on(host, *watch, "tcpdump", "-i", "any", "-n", "-l", "--immediate-mode", f"({sources}) and ({ports})")

    def asked() -> list[str]:
        return rig.on(host, "cat", ASKED).splitlines()

    def a_lookup_is_seen() -> int:
        """How many packets were, with it."""
        before = len(asked())

        def look() -> int:
            rig.on(host, "getent", "hosts", "www.site.example", check=False)
            return len(asked()) if len(asked()) > before else 0

        return int(rig.until("a lookup is seen", look, 60))

    try:
        before = a_lookup_is_seen()
        yield
        assert asked()[before:] == []
        a_lookup_is_seen()  # it was watched to the end
    finally:
        rig.on(host, "systemctl", "stop", "lab-asked", check=False)


def until_taken_over(host: str) -> list[float]:
    """Seconds that root logins with `hactl status` on that host took, one after the other until all is there."""
    took: list[float] = []

    def look() -> bool:
        began = time.monotonic()
        rig.on(host, "hactl", "status")
        took.append(time.monotonic() - began)
        return taken_over(host)

    rig.until("all is taken over", look, 300, every=5)
    return took


def taken_over(host: str) -> bool:
    """All that only one can have."""
    now = site.states()
    return all(now.get(name, {}).get("state") == "Ready" and now[name]["owner"] == host for name in site.MOVED)
