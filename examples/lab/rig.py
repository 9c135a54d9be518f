"""The lab from Python: its hosts, a writing client on the witness, samplers on both hosts. For demo, tests, benchmark.

Standard library only: the demo runs it with the machine's own python3.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LAB = HERE / "lab"
TOOLS = HERE / "tools"
HOSTS = ("hosta", "hostb")
RUN = Path("/run/hactl-lab")
STILL = 15.0  # seconds a guest was seen to stand still at a time
MOUNTED = "/mnt/nfs"
COMPARED = "/mnt/compared"
FOREVER = 900  # seconds: nothing in the lab takes longer; a hang is a failure with a name, not a wait without end


class LabError(Exception):
    """A call of the lab that failed: what was run, and what it said."""


class StoodStill(Exception):
    """A guest of the lab stood still meanwhile: what failed then tells nothing of hactl."""


def lab(*argv: str, stdin: str = "", check: bool = True, timeout: float = FOREVER) -> subprocess.CompletedProcess[str]:
    """examples/lab/lab ARGV…"""
    try:
        done = subprocess.run(
            [str(LAB), *argv], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise LabError(f"lab {' '.join(argv)}: no end after {timeout:.0f} s") from e
    if check and done.returncode:
        raise LabError(f"lab {' '.join(argv)} exited {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done


def show(*argv: str) -> None:
    """Like `lab`, its output straight to this terminal."""
    if status := subprocess.run([str(LAB), *argv], check=False).returncode:
        raise LabError(f"lab {' '.join(argv)} exited {status}")


def on(host: str, *argv: str, stdin: str = "", check: bool = True) -> str:
    """Run it as root on a host; what it printed."""
    return lab("exec", host, "--", *argv, stdin=stdin, check=check).stdout


def hactl(*argv: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """hactl at the operator's desk."""
    return lab("hactl", *argv, check=check, stdin=stdin)


def status(service: str) -> dict[str, Any]:
    """Its entry of `hactl status -o json`."""
    found = json.loads(hactl("status", service, "-o", "json").stdout)
    return next(one for one in found["services"] if one["service"] == service)


def apply(manifest: Path | str, *more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """hactl apply with a file of this machine, or the text of one."""
    text = manifest if isinstance(manifest, str) else manifest.read_text()
    return hactl("apply", "-f", "-", *more, check=check, stdin=text)


def until(what: str, true: Any, seconds: float = 120, every: float = 0.5) -> Any:
    """The first true answer of `true()`; LabError when there is none in time."""
    ends = time.monotonic() + seconds
    while not (answer := true()):
        if time.monotonic() > ends:
            raise LabError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
    return answer


def ready(service: str, host: str, seconds: float = 180, *, alone: bool = False) -> dict[str, Any]:
    """Waits until it is Ready on that host and, unless `alone`, the other could take it over; its status."""

    def look() -> dict[str, Any] | None:
        now = status_or_none(service)
        if now is None or now["state"] != "Ready" or now["owner"] != host:
            return None
        able = [one for one, target in now["targets"].items() if target["ready"]]
        return now if able or alone else None

    try:
        found: dict[str, Any] = until(f"{service} is Ready on {host}", look, seconds)
    except LabError as e:
        raise LabError(f"{e}; it says: {json.dumps(status_or_none(service))}") from e
    return found


def status_or_none(service: str) -> dict[str, Any] | None:
    """None while etcd does not answer."""
    try:
        return status(service)
    except LabError:
        return None


def stood_still(since: float) -> list[str]:
    """The times after `since` (time.time()) at which a guest stood still of itself, in words: tools/pulse.py. One that
    is silent just now may be about to say so."""
    last = max(_pulse(), default=(0.0, ""))
    if "is silent" in last[1] and time.time() - last[0] < STILL:
        time.sleep(STILL)
    return [line for at, line in _pulse() if at >= since and "stood still" in line]


def _pulse() -> list[tuple[float, str]]:
    try:
        lines = (RUN / "logs/pulse.log").read_text().splitlines()
    except OSError:
        return []
    stamped = [line.partition(" ") for line in lines if line[:4].isdecimal()]
    return [(datetime.fromisoformat(at).timestamp(), f"{at} {text}") for at, _, text in stamped]


def seen() -> str:
    """What an operator would look at now: for the report of a failure, when nobody can look any more."""
    found = ["$ hactl status", _tried("hactl", "status")]
    look = "date +%T; drbdadm status; systemctl list-units --failed --no-legend --plain; journalctl -q -k -o cat -n 15"
    said = "journalctl -q -o cat -t hactl-agent -t hactl -n 40"
    for host in HOSTS:
        told = [_told(line) for line in _tried("exec", host, "--", "sh", "-c", said).splitlines()]
        found += [f"{host}:", _tried("exec", host, "--", "sh", "-c", look), *told]
    found += ["the guests as processes:", *(line for _, line in _pulse()[-15:])]
    return "\n".join(found)


def _tried(*argv: str) -> str:
    try:
        done = lab(*argv, check=False, timeout=30)
    except LabError as e:
        return str(e)
    return (done.stdout + done.stderr).rstrip()


def _told(line: str) -> str:
    """A line of the agent's journal as a person reads it."""
    try:
        entry = json.loads(line)
        return f"{entry['at']} {entry['level']} {entry['message']}"
    except (ValueError, KeyError, TypeError):
        return line


def boot_id(host: str) -> str:
    """ "" while it does not answer."""
    try:
        asked = lab("exec", host, "--", "cat", "/proc/sys/kernel/random/boot_id", check=False, timeout=15)
    except LabError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def booted_anew(host: str, before: str, seconds: float = 120) -> None:
    """Waits until it has another boot id than `before`."""
    until(f"{host} has booted anew", lambda: boot_id(host) not in ("", before), seconds)


@dataclass
class Client:
    """The writer on the witness, mounted through the HA address."""

    address: str = "192.0.2.10"
    log: str = "/run/lab-client.log"

    def mount(self) -> None:
        """NFSv4.2, hard: a write waits for the server, however long that takes."""
        on("witness", "mkdir", "-p", MOUNTED)
        options = "vers=4.2,hard,timeo=20,retrans=2"
        until(
            "the export is mounted",
            lambda: not self._try("mount", "-t", "nfs4", "-o", options, f"{self.address}:/", MOUNTED),
        )

    def unmount(self) -> None:
        self._try("umount", MOUNTED)

    def _try(self, *argv: str) -> int:
        return lab("exec", "witness", "--", *argv, check=False).returncode

    def begin(self) -> None:
        """From an empty export, writing."""
        lab("copy", str(TOOLS / "client.py"), "witness:/run/client.py")
        self.mount()
        on("witness", "sh", "-c", f"rm -f {MOUNTED}/records-* {self.log}")
        on(
            "witness",
            "systemd-run",
            "--quiet",
            "--collect",
            "--unit=lab-client",
            "python3",
            "/run/client.py",
            "run",
            MOUNTED,
            self.log,
        )
        self.writes_on()

    def acknowledged(self) -> int:
        return int(on("witness", "sh", "-c", f"grep -c ^ack {self.log} || true").strip() or 0)

    def writes_on(self, seconds: float = 60) -> None:
        """Waits until another write is acknowledged."""
        before = self.acknowledged()
        until("a client's write is acknowledged", lambda: self.acknowledged() > before + 1, seconds)

    def now(self) -> float:
        """Seconds on the client's clock, as its log has them."""
        return float(on("witness", "cut", "-d ", "-f1", "/proc/uptime"))

    def stalls(self, since: float) -> list[tuple[float, float]]:
        """(seconds, when it ended) of what was without an acknowledged write and ended after `since`, longest first."""
        rows = [row.split() for row in on("witness", "grep", "^ack", self.log).splitlines()]
        ends = [float(row[3]) for row in rows if len(row) == 4]
        return sorted(((b - a, b) for a, b in itertools.pairwise(ends) if b > since), reverse=True)

    def compare(self) -> dict[str, Any]:
        """What is there with what was acknowledged so far, by a mount and a cache of its own; it goes on writing."""
        on("witness", "mkdir", "-p", COMPARED)
        on("witness", "mount", "-t", "nfs4", "-o", "vers=4.2,hard,ro,nosharecache", f"{self.address}:/", COMPARED)
        try:
            found: dict[str, Any] = json.loads(on("witness", "python3", "/run/client.py", "verify", COMPARED, self.log))
        finally:
            self._try("umount", COMPARED)
        return found

    def end(self) -> dict[str, Any]:
        """Stop writing, mount anew so that no cache answers, compare."""
        on("witness", "systemctl", "stop", "lab-client")
        self.unmount()
        self.mount()
        found: dict[str, Any] = json.loads(on("witness", "python3", "/run/client.py", "verify", MOUNTED, self.log))
        self.unmount()
        return found


@contextmanager
def writing() -> Iterator[Client]:
    """A client that writes; ended whatever happens."""
    client = Client()
    client.begin()
    try:
        yield client
    finally:
        lab("exec", "witness", "--", "systemctl", "kill", "-s", "KILL", "lab-client", check=False)
        lab("exec", "witness", "--", "umount", "-fl", MOUNTED, check=False)


@contextmanager
def sampling() -> Iterator[Sampler]:
    """Both hosts sampled; ended whatever happens."""
    sampler = Sampler()
    sampler.begin()
    try:
        yield sampler
    finally:
        sampler.end()


class Sampler:
    """What both hosts held, ten times a second. It goes on after a power cut, and its log survives one."""

    home = "/var/lib/lab"

    def begin(self) -> None:
        self.end()
        for host in HOSTS:
            on(host, "sh", "-c", f"rm -rf {self.home}; mkdir -p {self.home}")
            lab("copy", str(TOOLS / "sampler.py"), f"{host}:{self.home}/sampler.py")
            on(host, "sh", "-c", "sync -f /var/lib && systemctl start lab-sampler")

    def end(self) -> None:
        """On hosts that are off it is forgotten when the next one begins."""
        for host in HOSTS:
            script = f"systemctl stop lab-sampler; rm -f {self.home}/sampler.py"
            lab("exec", host, "--", "sh", "-c", script, check=False)

    def samples(self) -> dict[str, list[dict[str, Any]]]:
        """Per host, in the order of time; a line cut short is left out."""
        return {
            host: [
                json.loads(line)
                for line in on(host, "cat", f"{self.home}/sampler.log").splitlines()
                if line.startswith("{") and line.endswith("}")
            ]
            for host in HOSTS
        }


def held_twice(samples: dict[str, list[dict[str, Any]]], apart: float = 0.1) -> list[str]:
    """Things that both hosts held at moments at most `apart` seconds from each other, each with the moment."""
    found = []
    first, second = (samples[host] for host in HOSTS)
    start = 0
    for one in first:
        while start < len(second) and second[start]["at"] < one["at"] - apart:
            start += 1
        for other in second[start:]:
            if other["at"] > one["at"] + apart:
                break
            found += [f"{thing} at {one['at']:.3f}" for thing in sorted({*one["holds"]} & {*other["holds"]})]
    return found


def disks_primary(host: str, resources: Sequence[str]) -> list[str]:
    """Of the resources, those that are Primary there."""
    return [name for name in resources if on(host, "drbdadm", "role", name).split("/")[0].strip() == "Primary"]
