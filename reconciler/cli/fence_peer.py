"""hactl fence-peer: DRBD's fence-peer handler. Clients wait meanwhile: it imports little, and needs no agent.

DRBD gives DRBD_RESOURCE and DRBD_PEERS in the environment (drbd.conf(5)). Its exit status is the answer: 4, the peer's
copy is outdated, I/O goes on; 1, the I/O stays held until the peer is back or the agent finds it so.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from reconciler.fencepeer import HELD, Answer, Incarnation, fence_peer
from reconciler.store import StoreError

TRIES, PAUSE = 3, 1.0  # seconds


def main(environ: Mapping[str, str] = os.environ) -> int:
    """The handler's exit status; its reason goes to stderr, which DRBD's helper passes to the kernel log or journal."""
    resource = environ.get("DRBD_RESOURCE", "")
    if not resource:
        print("hactl fence-peer is called by DRBD, with DRBD_RESOURCE in its environment", file=sys.stderr)
        return HELD
    peers = environ.get("DRBD_PEERS", environ.get("DRBD_PEER", "")).split()
    try:
        answer = asyncio.run(_ask(resource, peers))
    except Exception as e:  # noqa: BLE001 - whatever is wrong, the I/O stays held, and the reason is said
        answer = Answer(HELD, f"{e}; the I/O of disk {resource} stays held until this is known")
    print(f"hactl fence-peer {resource}: {answer.why}", file=sys.stderr)
    _tell_journal(f"hactl fence-peer {resource}: {answer.why}")
    return answer.status


async def _ask(resource: str, peers: list[str]) -> Answer:
    from reconciler.cli import config as configuration
    from reconciler.cli.desk import connect

    config = configuration.load()
    if config.host is None:
        return Answer(HELD, "the configuration does not say which host this is (host = …)")
    me = Incarnation(config.host, _boot_id())
    store = connect(config)
    try:
        for tried in range(1, TRIES + 1):
            at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            try:
                return await fence_peer(store, me, resource, peers, at)
            except StoreError:
                if tried == TRIES:
                    raise
                await asyncio.sleep(PAUSE)
        raise AssertionError("unreachable")
    finally:
        await store.close()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _tell_journal(text: str) -> None:
    """The kernel's helper has no terminal and no journal of its own."""
    try:
        with open("/dev/kmsg", "w") as kmsg:
            kmsg.write(f"<4>{text}\n")
    except OSError:
        return
