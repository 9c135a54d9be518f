"""Real etcd members on loopback, as processes that the tests kill, stop and start again. Each is ended by its pid."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STARTS = 60.0  # seconds that a member may take on a busy machine


class Members:
    """A cluster of `count` members; `more`: arguments for all of them; `tls`: how etcdctl gets in."""

    def __init__(self, count: int = 3, more: Sequence[str] = (), tls: Sequence[str] = ()) -> None:
        # On a memory file system: a busy disk would hold up fsync, and with it elections.
        self._root = Path(tempfile.mkdtemp(prefix="hactl-etcd-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        scheme = "https" if tls else "http"
        ports = free_ports(2 * count)
        self.endpoints = [f"{scheme}://127.0.0.1:{port}" for port in ports[:count]]
        self._peers = [f"http://127.0.0.1:{port}" for port in ports[count:]]
        self._more, self._tls = list(more), list(tls)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for i in range(count):
            self._start(i, "new")
        self.wait()

    def _start(self, i: int, state: str) -> None:
        cluster = ",".join(f"m{j}={peer}" for j, peer in enumerate(self._peers))
        argv = ["etcd", "--name", f"m{i}", "--data-dir", str(self._root / f"m{i}"), "--logger", "zap"]
        argv += ["--listen-client-urls", self.endpoints[i], "--advertise-client-urls", self.endpoints[i]]
        argv += ["--listen-peer-urls", self._peers[i], "--initial-advertise-peer-urls", self._peers[i]]
        argv += ["--initial-cluster", cluster, "--initial-cluster-state", state, *self._more]
        with (self._root / f"m{i}.log").open("ab") as log:
            self._processes[i] = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def ctl(self, *argv: str, endpoint: int | None = None, user: str = "") -> str:
        """What etcdctl prints. Raises CalledProcessError."""
        where = self.endpoints if endpoint is None else [self.endpoints[endpoint]]
        command = ["etcdctl", "--endpoints", ",".join(where), "--command-timeout=5s", *self._tls]
        command += ["--user", user] if user else []
        env = {**os.environ, "ETCDCTL_API": "3"}
        return subprocess.run([*command, *argv], check=True, capture_output=True, text=True, env=env).stdout

    def _status(self, i: int) -> Any:
        try:
            return json.loads(self.ctl("endpoint", "status", "-w", "json", endpoint=i))[0]["Status"]
        except (subprocess.CalledProcessError, ValueError):
            return None

    def wait(self) -> None:
        """Until every member has a leader and answers."""
        end = time.monotonic() + STARTS
        while not all((status := self._status(i)) and status.get("leader") for i in range(len(self.endpoints))):
            if time.monotonic() > end:
                raise TimeoutError(f"etcd does not start; see {self._root}/*.log")
            time.sleep(0.1)

    def leader(self) -> int:
        """By its number."""
        for i in range(len(self.endpoints)):
            status = self._status(i)
            if status and status["leader"] == status["header"]["member_id"]:
                return i
        raise RuntimeError("there is no leader")

    def kill(self, i: int) -> None:
        self._processes[i].kill()
        self._processes[i].wait()

    def stop(self, i: int) -> None:
        """SIGSTOP: its connections stay open and nobody answers."""
        self._processes[i].send_signal(signal.SIGSTOP)

    def up(self, i: int) -> None:
        """Started, or going on."""
        if self._processes[i].poll() is not None:
            self._start(i, "existing")
        self._processes[i].send_signal(signal.SIGCONT)

    def heal(self) -> None:
        """All of them are up."""
        for i in self._processes:
            self.up(i)
        self.wait()

    def end(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        shutil.rmtree(self._root, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
