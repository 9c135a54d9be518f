"""An idle host: between resyncs nothing is run on it, and nothing is written to etcd but the lease's renewals."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.session import Options
from reconciler.sim.cluster import Cluster, play
from reconciler.sim.machine import SimMachine
from reconciler.sim.store import SimStore
from reconciler.spec import to_json
from reconciler.store import Txn, host_key
from resources.machine import Finished
from tests.sim.services import NFS, service

HOUR = 3600.0
KEY_FILE = Options().key_file
RESYNC = 2 * HOUR
SERVICES = [NFS, service("web", failover="automatic", primary="hostb"), service("git", primary="hostb", checks=[])]


@pytest.fixture
def doings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All programs that are run, files that are written on disk and transactions that are committed, by any agent."""
    found: list[str] = []
    run, write, commit = SimMachine.run, SimMachine.write, SimStore.commit

    async def told_run(self: SimMachine, *argv: str, **more: Any) -> Finished:
        found.append(f"run {' '.join(argv)}")
        return await run(self, *argv, **more)

    def told_write(self: SimMachine, path: str, text: str) -> None:
        if not path.startswith("/run/"):
            found.append(f"write {path}")
        write(self, path, text)

    async def told_commit(self: SimStore, txn: Txn) -> int | None:
        found.append(f"commit {sorted(txn.puts)} {sorted(txn.deletes)}")
        return await commit(self, txn)

    monkeypatch.setattr(SimMachine, "run", told_run)
    monkeypatch.setattr(SimMachine, "write", told_write)
    monkeypatch.setattr(SimStore, "commit", told_commit)
    return found


@pytest.mark.parametrize("watchdog", ["", "/dev/watchdog"])
def test_between_resyncs_an_hour_passes_without_a_program_or_a_write(doings: list[str], watchdog: str) -> None:
    async def story(cluster: Cluster) -> None:
        for name, host in cluster.world.hosts.items():  # so that there is a failsafe
            manifest = {"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": name}}
            await cluster.put(host_key(name), to_json({**manifest, "spec": {"addresses": [host.own_address]}}))
            host.files[KEY_FILE] = "k" * 32
        await cluster.until_ready()
        await cluster.run(60)
        doings.clear()
        revision = cluster.etcd.keys.revision
        await cluster.run(HOUR)
        assert doings == []
        assert cluster.etcd.keys.revision == revision
        await cluster.until_ready(within=0)

    play(story, SERVICES, options=Options(resync=RESYNC, watchdog=watchdog), pause=10)


def test_a_resync_runs_programs_and_still_writes_nothing(doings: list[str]) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.run(60)
        doings.clear()
        await cluster.run(600)
        assert doings
        assert not [one for one in doings if not one.startswith("run ")]

    play(story, SERVICES, pause=10)
