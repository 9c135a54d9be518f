"""`make demo`: the main job on real parts. An NFS service under a client that writes moves to the other host and back.

Leaves the lab up, so that one can look around; says how to take it down.
"""

from __future__ import annotations

import json
import sys
import time

from examples.lab import rig

MANIFESTS = (rig.HERE.parent / "hosts.yaml", rig.HERE.parent / "nfs.yaml")


def main() -> int:
    try:
        return demo()
    except rig.LabError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1


def demo() -> int:
    began = time.monotonic()
    begin()
    print(rig.hactl("status").stdout)
    results = []
    with rig.sampling() as sampler, rig.writing() as client:
        say("a client on the witness writes, fsyncs and reads back without pause")
        for host in ("hostb", "hosta"):
            client.writes_on()
            say(f"hactl set nfs primary={host} --wait")
            rig.show("hactl", "set", "nfs", f"primary={host}", "--reason", "make demo", "--wait")
            rig.ready("nfs", host)
            results.append(host)
        client.writes_on()
        found = client.end()
        twice = rig.held_twice(sampler.samples())
    say("the steps of both moves, and their seconds")
    print(steps())
    print(f"moves that ended Ready:       {len(results)} of 2")
    print(f"writes acknowledged:          {found['writes']}")
    print(f"longest stall a client saw:   {found['longest_stall']:.1f} s")
    print(f"held on both hosts at once:   {len(twice)} samples")
    print(f"writes lost:                  {found['lost'] + found['wrong']}")
    print(f"\nall of it took {time.monotonic() - began:.0f} s. The lab is still up: examples/lab/lab hactl status;")
    print("examples/lab/lab down takes it away.")
    return 1 if found["lost"] or found["wrong"] or found["errors"] or twice else 0


def begin() -> None:
    """The lab is up, with the service on one of its hosts. For the benchmark too."""
    rig.show("up")
    rig.show("provision", str(MANIFESTS[1]))
    say("apply: what the site wants")
    for manifest in MANIFESTS:
        print(rig.apply(manifest).stdout, end="")
    rig.hactl("set", "nfs", "primary=hosta", "--anyway")
    rig.ready("nfs", "hosta")


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def steps() -> str:
    """The steps that the hosts noted, in order."""
    rows = []
    for line in rig.hactl("events", "nfs", "-o", "json").stdout.splitlines():
        event = json.loads(line)
        if event["kind"] in ("step", "decision"):
            seconds = f"{event['seconds']:6.2f} s" if event.get("seconds") is not None else " " * 8
            rows.append(f"  {event['at'][11:23]}  {event['host']}  {seconds}  {event['text']}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
