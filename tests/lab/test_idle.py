"""Nothing happens: nothing is done but to keep the sessions, and to look when the resync comes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from examples.lab import rig

SECONDS = 25  # 27 at least lie between two resyncs
LOOKS = """
import re, sys, time, urllib.request

def looks():
    text = urllib.request.urlopen("http://127.0.0.1:9717/metrics", timeout=5).read().decode()
    return int(float(re.search(r'hactl_pass_seconds_bucket.le="[+]Inf". ([0-9.]+)', text)[1]))

before = looks()
time.sleep(float(sys.argv[1]))
print(looks() - before)
"""


def looks(host: str, seconds: float) -> int:
    """How often it has looked at a service in so long."""
    return int(rig.on(host, "python3", "-c", LOOKS, str(seconds)))


def revision() -> int:
    """etcd's, which each write raises; a lease that is kept alive does not."""
    asked = rig.on("witness", "sh", "-c", "ETCDCTL_API=3 etcdctl get /hactl/nothing --write-out=json")
    return int(json.loads(asked)["header"]["revision"])


def test_an_idle_site_looks_with_the_resync_alone_and_writes_nothing(nfs: str) -> None:
    """Not at what its own looking has caused: asking a standby's systemd for a unit that does not run makes it load
    the unit and drop it again, with a signal each."""
    for host in rig.HOSTS:
        rig.until(f"{host} is quiet about {nfs}", lambda host=host: looks(host, 5) == 0)
    before = revision()
    with ThreadPoolExecutor() as side_by_side:
        looked = dict(zip(rig.HOSTS, side_by_side.map(lambda host: looks(host, SECONDS), rig.HOSTS), strict=True))
    assert all(times <= 1 for times in looked.values()), f"looks in {SECONDS} s: {looked}"
    assert revision() == before, rig.hactl("events", nfs).stdout
