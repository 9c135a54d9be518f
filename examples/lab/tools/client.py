#!/usr/bin/env python3
"""A client of the NFS service, for demo, tests and benchmark: runs on the witness, standard library only.

    client.py run DIR LOG       append a record, fsync, note that it was acknowledged, read an older one back; for ever
    client.py verify DIR LOG    compare what is there with what was acknowledged; prints one JSON object

LOG is a local file, one line an event, times in seconds on this machine's monotonic clock:
`ack N BEGAN ENDED`, `error N TEXT`, `wrong N TEXT`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

PER_FILE = 500  # records
CHECK_EVERY = 5  # records


def record(n: int) -> bytes:
    """32 bytes that only this number has."""
    return f"{n:010d} {hashlib.sha256(str(n).encode()).hexdigest()[:20]}\n".encode()


def where(directory: Path, n: int) -> tuple[Path, int]:
    """The file of a record, and its offset in it."""
    return directory / f"records-{n // PER_FILE:06d}", n % PER_FILE * len(record(0))


def run(directory: Path, log: Path) -> None:
    """Until SIGTERM."""
    going = True

    def stop(*_: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    chance = random.Random(1)
    with log.open("w", buffering=1) as out:
        n = 0
        while going:
            n += append(directory, n, out.write)
            if n % CHECK_EVERY == 1:
                read_back(directory, chance.randrange(n), out.write)


def append(directory: Path, n: int, note: object) -> int:
    """1 when it was acknowledged; a failed one is written again at the same place."""
    assert callable(note)
    path, offset = where(directory, n)
    began = time.monotonic()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(fd, record(n), offset)
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as e:
        note(f"error {n} {e}\n")
        time.sleep(0.2)
        return 0
    note(f"ack {n} {began:.4f} {time.monotonic():.4f}\n")
    return 1


def read_back(directory: Path, n: int, note: object) -> None:
    """From the server, not from this client's cache."""
    assert callable(note)
    path, offset = where(directory, n)
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            found = os.pread(fd, len(record(n)), offset)
        finally:
            os.close(fd)
    except OSError as e:
        note(f"error {n} reading: {e}\n")
        return
    if found != record(n):
        note(f"wrong {n} {found!r}\n")


def verify(directory: Path, log: Path) -> dict[str, object]:
    """What was acknowledged and is not there, and the longest time without an acknowledgement."""
    acked: list[int] = []
    ends: list[float] = []
    troubles: list[str] = []
    for line in log.read_text().splitlines():
        word, *rest = line.split(" ")
        if word == "ack" and len(rest) == 3:
            acked.append(int(rest[0]))
            ends.append(float(rest[2]))
        elif word in ("error", "wrong"):
            troubles.append(line)
    files = {path.name: path.read_bytes() for path in sorted(directory.glob("records-*"))}
    lost = []
    for n in acked:
        path, offset = where(directory, n)
        if files.get(path.name, b"")[offset : offset + len(record(n))] != record(n):
            lost.append(n)
    gaps = sorted(((b - a, a) for a, b in itertools.pairwise(ends)), reverse=True)
    return {
        "writes": len(acked),
        "lost": len(lost),
        "lost_first": lost[:10],
        "wrong": sum(1 for line in troubles if line.startswith("wrong")),
        "errors": troubles[:10],
        "seconds": round(ends[-1] - ends[0], 3) if ends else 0,
        "longest_stall": round(gaps[0][0], 3) if gaps else 0,
        "stalls": [[round(at, 3), round(length, 3)] for length, at in gaps[:30] if length > 0.5],
    }


def main() -> None:
    what, directory, log = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if what == "run":
        run(directory, log)
    else:
        print(json.dumps(verify(directory, log)))


if __name__ == "__main__":
    main()
