#!/usr/bin/env python3
"""Shows what docs/decisions.md says of etcd clients. Run it with .venv/bin/python.

1. `etcd3` 0.12.0, the newest release, in a virtual environment of its own with today's grpcio and protobuf; and with a
   protobuf so old that it can be imported, against a member that is stopped.
2. `reconciler.etcd`, while members of a three-member cluster on loopback are killed and stopped under it.

Needs Debian's etcd-server and etcd-client, and PyPI for the first half; leaves nothing behind. About two minutes.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import cast

from loguru import logger

sys.path.insert(0, str(Path(__file__).parents[2]))

from reconciler.etcd import Etcd
from reconciler.store import Change, StoreError, Txn
from tests.contract.members import Members

USES = """
import etcd3, sys, threading, time
client = etcd3.client(host="127.0.0.1", port=int(sys.argv[1]), timeout=None)
client.put("/shown", "1")
print("put while all is well: done", flush=True)
events, cancel = client.watch("/shown")
def seen():
    try:
        for event in events: print("watch:", event.value.decode(), flush=True)
        print("the watch has ended without a word", flush=True)
    except Exception as e: print("watch:", type(e).__name__, e, flush=True)
threading.Thread(target=seen, daemon=True).start()
input()
began = time.monotonic()
try:
    client.put("/shown", "2")
    print(f"put: done after {time.monotonic() - began:.1f} s", flush=True)
except Exception as e:
    print(f"put: {type(e).__name__} after {time.monotonic() - began:.1f} s", flush=True)
"""
PATIENCE = 30.0  # seconds until a call that does not come back is called hanging
PUTS = 1000


# -- etcd3 -------------------------------------------------------------------------------------------------------------


def environment(root: Path, name: str, *packages: str) -> Path:
    """The python of a new one."""
    venv.create(root / name, with_pip=True)
    python = root / name / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-qq", "--no-input", *packages], check=True)
    return python


def installed(python: Path) -> str:
    shown = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    wanted = ("etcd3", "grpcio", "protobuf")
    return ", ".join(line for line in shown.splitlines() if line.split("==")[0] in wanted)


def imports(root: Path) -> None:
    python = environment(root, "today", "etcd3==0.12.0", "grpcio", "protobuf")
    print(f"with {installed(python)}:\n    import etcd3")
    done = subprocess.run([python, "-c", "import etcd3"], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line and not line.startswith(" ")]
    print("    " + (said[1] if len(said) > 1 else "is imported") + "\n")


def uses(root: Path, members: Members) -> None:
    python = environment(root, "old", "etcd3==0.12.0", "protobuf<3.21")
    print(f"with {installed(python)}, one endpoint (it takes no more):")
    for what, strike in (("stopped (SIGSTOP)", members.stop), ("killed", members.kill)):
        port = members.endpoints[0].rpartition(":")[2]
        process = subprocess.Popen(
            [python, "-W", "ignore", "-c", USES, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin
        time.sleep(5)
        strike(0)
        print(f"  its member is {what}, two of three members go on:")
        process.stdin.write("\n")
        process.stdin.flush()
        try:
            process.wait(PATIENCE)
            hangs = ""
        except subprocess.TimeoutExpired:
            hangs = f"    put: hangs, given up after {PATIENCE:.0f} s"
            process.kill()
        out, _ = process.communicate()
        print("\n".join([*(f"    {line}" for line in out.splitlines()), *([hangs] if hangs else [])]))
        members.heal()
    print()


# -- ours --------------------------------------------------------------------------------------------------------------


class Shown:
    """Puts in a row, each comparing the one before; a watch and a lease beside it."""

    def __init__(self, members: Members, first: int) -> None:
        endpoints = [*members.endpoints[first:], *members.endpoints[:first]]
        self.writer, self.reader = (Etcd(endpoints, client=name) for name in ("writer", "reader"))
        self.slowest, self.seen, self.gap = 0.0, list[str](), 0.0

    async def watch(self, after: int) -> None:
        last = time.monotonic()
        stream = cast(AsyncGenerator[tuple[Change, ...]], self.reader.watch("/hactl/shown", after))
        async for changes in stream:
            self.seen += [change.entry.value for change in changes if change.entry]
            if changes:
                self.gap, last = max(self.gap, time.monotonic() - last), time.monotonic()
            if len(self.seen) >= PUTS:
                break
        await stream.aclose()

    async def put(self, strike: Callable[[], None]) -> str:
        await self.writer.commit(Txn({}, {}, ("/hactl/shown",)))
        lease = await self.writer.grant(15)
        watching = asyncio.create_task(self.watch((await self.writer.list("/hactl/shown")).revision))
        revision = 0
        for number in range(PUTS):
            if number == PUTS // 3:
                strike()
            began = time.monotonic()
            done = await self.writer.commit(Txn({"/hactl/shown": revision}, {"/hactl/shown": (str(number), 0)}))
            assert done is not None, "a transaction was taken for refused"
            self.slowest, revision = max(self.slowest, time.monotonic() - began), done
        async with asyncio.timeout(60):
            await watching
        assert self.seen == [str(number) for number in range(PUTS)], "an event is missing or came twice"
        await self.writer.keep_alive(lease)
        return f"slowest put {self.slowest:4.1f} s, watch behind {self.gap:4.1f} s at most, {PUTS} of {PUTS} events"

    async def run(self, strike: Callable[[], None]) -> str:
        try:
            return await self.put(strike)
        finally:
            await asyncio.gather(self.writer.close(), self.reader.close())


async def without_quorum(members: Members) -> None:
    store = Etcd(members.endpoints, client="shown")
    try:
        for member in (0, 1):
            members.kill(member)
        began = time.monotonic()
        try:
            await store.get("/hactl/shown")
        except StoreError as e:
            print(f"  two of three killed      after {time.monotonic() - began:.1f} s: {type(e).__name__}: {e}")
    finally:
        await store.close()


def ours(members: Members) -> None:
    print("reconciler.etcd, three endpoints, the client talks to the member that is hit:")
    for what, leads in (("follower", False), ("leader", True)):
        for how in ("killed", "stopped"):
            leader = members.leader()
            member = leader if leads else (leader + 1) % 3
            strike = members.kill if how == "killed" else members.stop

            async def shown(first: int = member, strike: Callable[[int], None] = strike) -> str:
                return await Shown(members, first).run(lambda: strike(first))

            print(f"  {what} {how:8} {asyncio.run(shown())}", flush=True)
            members.heal()
    asyncio.run(without_quorum(members))


def main() -> None:
    logger.disable("reconciler")
    members = Members()
    try:
        with tempfile.TemporaryDirectory(prefix="hactl-etcd3-") as root:
            imports(Path(root))
            uses(Path(root), members)
        ours(members)
    finally:
        members.end()


if __name__ == "__main__":
    main()
