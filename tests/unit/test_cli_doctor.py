"""hactl doctor gathers: of a simulated host through its Machine, of etcd's members over HTTP, of a site."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from loguru import logger

from reconciler.cli import doctor, members
from reconciler.cli.config import Config
from reconciler.cli.desk import Desk
from reconciler.cli.main import run
from reconciler.cli.scene import look
from reconciler.sim.cluster import Cluster
from resources.machine import Mounted
from tests.sim.services import GIT
from tests.unit.support import captured
from tests.unit.test_cli_commands import NFS, Capture, story

CONFIG = Config(host="hosta", endpoints=("http://192.0.2.1:2379",))


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.disable("reconciler")


async def texts(cluster: Cluster, desk: Desk, config: Config = CONFIG) -> list[str]:
    """Of hosta, from within."""
    machine = cluster.agents["hosta"].machine
    found = await doctor.of_host(machine, config, await look(desk.store), {"root's home": "/root"})
    return [str(one) for one in found]


def test_a_host_that_is_well() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        assert await texts(cluster, desk) == []
        site = [str(one) for one in doctor.of_site(await look(desk.store))]
        assert site == [
            f"host/{host}: there is no manifest of it (kind: Host). hactl apply -f hosts.yaml" for host in cluster.hosts
        ]

    story(tell)


def test_a_host_with_all_that_can_be_wrong() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        there = cluster.world.hosts["hosta"]
        there.files["/etc/libvirt/lxc/autostart/nfs.xml"] = "<domain/>"
        place = there.place("nfs")
        assert place is not None
        place.enabled.add("nfs.service")
        there.base.mounts.append(Mounted("/root", "0:50", "nfs4", "nfs:/root", readonly=False))
        spec = NFS.model_dump(mode="json", exclude_none=True)
        spec["spec"]["disks"].append({"resource": "no-such", "mount": "/x"})
        await cluster.put("/hactl/services/nfs", json.dumps(spec))
        fenced = {"agent": "fence_none", "secret": "hostb-bmc"}
        await cluster.put(
            "/hactl/hosts/hostb",
            json.dumps(
                {"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": "hostb"}, "spec": {"fencing": fenced}}
            ),
        )
        found = "\n".join(await texts(cluster, desk))
        for said in (
            "root's home (/root) is on nfs4 nfs:/root",
            "the secret for fencing hostb is missing on this host: /etc/hactl/secrets/hostb-bmc",
            "DRBD knows no resource no-such",
            "libvirt starts container nfs by itself at boot",
            "nfs.service is enabled in container nfs",
            "the fence device of hostb does not answer here:",
        ):
            assert said in found
        assert len(found.splitlines()) == 6

    story(tell)


def test_what_cannot_be_read_is_said() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        cluster.world.hosts["hosta"].libvirtd = False
        assert any(
            "container nfs cannot be looked at: libvirtd does not answer" in one for one in await texts(cluster, desk)
        )

    story(tell)


def test_without_etcd_the_host_is_looked_at_all_the_same() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        machine = cluster.agents["hosta"].machine
        assert await doctor.of_host(machine, CONFIG, None, {"root's home": "/root"}) == []

    story(tell, GIT)


@contextmanager
def member(answers: dict[str, tuple[int, str]]) -> Iterator[str]:
    """One that answers so; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, "404 page not found\n"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_members_are_asked_over_http() -> None:
    listing = {"/v3/cluster/member/list": (200, captured("etcd-member-list.json"))}
    with (
        member({"/health": (200, '{"health":"true"}'), **listing}) as well,
        member({"/health": (503, '{"health":"false"}')}) as ill,
        member({}) as other,
    ):
        config = Config(endpoints=(ill, well, other, "http://127.0.0.1:9"))
        found = {one.url: one for one in await members.endpoints(config)}
        assert found[well].trouble == ""
        assert abs(found[well].ahead or 0) < 2
        assert found[ill].trouble == "it says that it is not healthy: is there a quorum?"
        assert found[other].trouble == "it does not answer (Not Found)"
        assert found["http://127.0.0.1:9"].trouble == "it does not answer (Connection refused)"
        assert set(await members.members(config) or ()) == {"m1", "m2", "m3"}
        assert await members.members(Config(endpoints=(other,))) is None


def test_its_exit_code_says_that_something_was_found(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "hactl.toml"
    config.write_text('endpoints = ["http://127.0.0.1:9"]\n')
    monkeypatch.setenv("HACTL_CONFIG", str(config))
    assert run(["doctor"]) == 3
    said = capsys.readouterr()
    assert "etcd: http://127.0.0.1:9 is not well: it does not answer (Connection refused)." in said.out
    assert "Hosts and services could not be looked at" in said.out
    assert said.err.startswith("3 findings (etcd, no host from within")
