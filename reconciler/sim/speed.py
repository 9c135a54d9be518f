"""`python -m reconciler.sim.speed`: simulated seconds for each second of a core. A benchmark; the aim is 1,000.

Two hosts and three services under writing clients: ten minutes, in which each service moves once and a host dies. The
second figure is of random stories with faults of all kinds. CPU time: what else the machine does matters little.
"""

from __future__ import annotations

import statistics
import time

from loguru import logger

from reconciler.sim.chance import LASTS, random_scenario
from reconciler.sim.cluster import Cluster, play
from reconciler.sim.scenario import tell
from reconciler.spec import ServiceManifest, validate

SECONDS, RUNS, STORIES = 600.0, 3, 20
AIM = 1000


def services() -> list[ServiceManifest]:
    """Three, each with two disks, two addresses, two units and a check."""
    found = []
    for number, name in enumerate(("dns", "nfs", "web"), start=1):
        spec = {
            "hosts": ["hosta", "hostb"],
            "container": {"domain": name},
            "disks": [{"resource": f"{name}-{half}", "mount": f"/srv/{half}"} for half in ("data", "state")],
            "addresses": [{"address": f"192.0.2.{number}0/24"}, {"address": f"2001:db8::{number}0/64"}],
            "units": ["first.service", f"{name}.service"],
            "checks": [{"tcp": 1000 + number}],
        }
        manifest = validate({"apiVersion": "hactl/v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
        assert isinstance(manifest, ServiceManifest)
        found.append(manifest)
    return found


async def ten_minutes(cluster: Cluster) -> None:
    """Moves, then a death and a return."""
    await cluster.until_ready()
    for name in sorted(cluster.services):
        await cluster.set_primary(name, "hostb")
        await cluster.run(60)
    cluster.power("hostb", on=False)
    await cluster.run(60)
    cluster.power("hostb", on=True)
    await cluster.run(SECONDS - cluster.now)


def main() -> None:
    logger.disable("reconciler")
    calm = statistics.median(_rate(lambda: play(ten_minutes, services()), SECONDS) for _ in range(RUNS))
    wild = _rate(lambda: [tell(random_scenario(seed), seed) for seed in range(STORIES)], STORIES * LASTS)
    print(f"two hosts, three services, ten minutes: {calm:.0f} simulated seconds a second of a core (aim: {AIM})")
    print(f"random stories, faults of all kinds: {wild:.0f}")


def _rate(what: object, seconds: float) -> float:
    assert callable(what)
    began = time.process_time()
    what()
    return seconds / (time.process_time() - began)


if __name__ == "__main__":
    main()
