#!/usr/bin/env python3
"""Clients of a whole site, each with the protocol that its users speak: runs on the witness, standard library only.

    site_client.py run LOG SERVICE…       use each service again and again, side by side, until SIGTERM
    site_client.py verify LOG SERVICE…    compare what is there with what was acknowledged; prints one JSON object

LOG is a local file, one line an event, times in seconds on this machine's monotonic clock:
`ack SERVICE N BEGAN ENDED`, `error SERVICE N TEXT`. What is acknowledged must be there for ever after.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import itertools
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

LAN = "vec0"
KEY = "/run/site-key"
HOME = Path("/var/tmp/site-client")
PATIENCE = 8.0  # seconds for one use
SINCE = 1_767_225_600  # 2026: what has passed since, in tenths of a second, is below 2^31 for six years


class WrongError(Exception):
    """A use that was not acknowledged, or came to what it must not."""


def run(*argv: str, seconds: float = PATIENCE, stdin: str = "", cwd: Path | None = None) -> str:
    """Raises WrongError."""
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=seconds, check=False, cwd=cwd, env=QUIET
        )
    except subprocess.TimeoutExpired as e:
        raise WrongError(f"{argv[0]}: no end after {seconds:g} s") from e
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise WrongError(f"{argv[0]} exited {done.returncode}: {said[-1] if said else ''}")
    return done.stdout


QUIET = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "PGCONNECT_TIMEOUT": "3", "HGPLAIN": "1"}


class Client:
    """Of one service. `pace`: seconds between uses."""

    pace = 0.5

    def begin(self) -> None:
        """Before the first use; until it succeeds."""

    def use(self, n: int) -> None:
        """The n-th use; returns when it was acknowledged. Raises WrongError, OSError."""
        raise NotImplementedError

    def there(self) -> set[int] | None:
        """The numbers of all uses that have left something; None: none does."""
        return None


class Nfs(Client):
    """Records, each synced, on the share that somebody has mounted on /mnt/nfs."""

    directory = Path("/mnt/nfs/site-client")

    def begin(self) -> None:
        self.directory.mkdir(exist_ok=True)

    def use(self, n: int) -> None:
        fd = os.open(self.directory / "records", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(fd, f"{n}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)

    def there(self) -> set[int]:
        return numbers((self.directory / "records").read_text().split())


class Ldap(Client):
    """Entries, added through either server in turn; the other is asked where one does not answer."""

    servers = ("192.0.2.38", "192.0.2.39")
    base = "ou=uses,dc=site,dc=example"
    admin = ("-x", "-D", "cn=admin,dc=site,dc=example", "-w", "lab", "-o", "nettimeout=2")

    def use(self, n: int) -> None:
        entry = f"dn: cn=use-{n},{self.base}\nobjectClass: device\ncn: use-{n}\nserialNumber: {n}\n"
        first_of(
            self.servers[n % 2 :] + self.servers[: n % 2],
            lambda server: run("ldapadd", *self.admin, "-H", f"ldap://{server}", stdin=entry, seconds=4),
        )

    def there(self) -> set[int]:
        """What both have."""
        asked = [
            run("ldapsearch", *self.admin, "-LLL", "-H", f"ldap://{server}", "-b", self.base, "serialNumber")
            for server in self.servers
        ]
        one, other = (numbers(text.replace("serialNumber: ", "\n").split()) for text in asked)
        return one & other


class Dns(Client):
    """A name of the site, asked of either server, as a resolver does."""

    servers = ("192.0.2.53", "192.0.2.54")

    def use(self, n: int) -> None:
        first_of(self.servers, lambda server: self.ask(server, "www.site.example", "192.0.2.12"))

    @staticmethod
    def ask(server: str, name: str, address: str) -> None:
        answer = run("dig", "+short", "+time=1", "+tries=1", f"@{server}", name, "A").split()
        if address not in answer:
            raise WrongError(f"{server} answers {name} with {' '.join(answer) or 'nothing'} and not with {address}")


class Dhcp(Client):
    """A machine that nobody knows, with a MAC address of its own each time: a desktop by DHCP, whose name is in the DNS
    then, or a board by BOOTP. No two may have one address within its lease."""

    pace = 1.5
    lease = 60.0  # seconds

    def __init__(self) -> None:
        self._given: dict[str, float] = {}

    def use(self, n: int) -> None:
        mac, id = bytes([0x02, 0xAB, *n.to_bytes(4, "big")]), secrets.token_bytes(4)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, LAN.encode())
            channel.bind(("", 68))
            channel.settimeout(4)
            desktop = n % 2 == 0
            if not desktop:
                address, _ = self._ask(channel, id, mac, b"")
            else:
                offered, server = self._ask(channel, id, mac, b"\x35\x01\x01")
                wanted = b"\x35\x01\x03\x32\x04" + socket.inet_aton(offered) + b"\x36\x04" + server
                address, _ = self._ask(channel, id, mac, wanted + name_option(n))
        now = time.monotonic()
        if now < self._given.get(address, 0.0):
            raise WrongError(f"WRONG: {address} was given twice within its lease")
        self._given[address] = now + self.lease - PATIENCE
        if desktop:
            self._in_dns(f"desk-{n}.dyn.site.example", address)

    @staticmethod
    def _in_dns(name: str, address: str) -> None:
        """The server beside it is told after the answer, and says no such name for two seconds once it was asked."""
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                return first_of(Dns.servers, lambda server: Dns.ask(server, name, address))
            except WrongError:
                if time.monotonic() > ends:
                    raise
            time.sleep(0.5)

    @staticmethod
    def _ask(channel: socket.socket, id: bytes, mac: bytes, options: bytes) -> tuple[str, bytes]:
        """The address that was offered or given, and the server's identifier."""
        head = struct.pack("!BBBB4sHH", 1, 1, 6, 0, id, 0, 0x8000)
        more = b"\x63\x82\x53\x63" + options + b"\xff" if options else b""
        channel.sendto((head + bytes(16) + mac.ljust(16, b"\0") + bytes(192) + more).ljust(300, b"\0"), BROADCAST)
        while True:
            answer = channel.recv(1500)
            if answer[:1] != b"\x02" or answer[4:8] != id:
                continue
            told = dict(dhcp_options(answer[240:]))
            if options and told.get(53) not in (b"\x02", b"\x05"):
                raise WrongError("it was refused")
            return str(ipaddress.IPv4Address(answer[16:20])), told.get(54, b"")


BROADCAST = ("255.255.255.255", 67)


def name_option(n: int) -> bytes:
    """Host name."""
    name = f"desk-{n}".encode()
    return bytes([12, len(name)]) + name


def dhcp_options(data: bytes) -> Iterable[tuple[int, bytes]]:
    at = 0
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        length = data[at + 1]
        yield data[at], data[at + 2 : at + 2 + length]
        at += 2 + length


class Tftp(Client):
    """The boards' image, which this client has put there."""

    server = "192.0.2.11"
    image = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(600))  # 19,200 bytes: 38 blocks

    def begin(self) -> None:
        (HOME / "boot.img").write_bytes(self.image)
        said = self._tftp("put", str(HOME / "boot.img"), "boot.img")
        if self._get() != self.image:
            raise WrongError(f"tftp: the image was not put there: {said}")

    def use(self, n: int) -> None:
        if self._get() != self.image:
            raise WrongError("WRONG: another image than the one that was put there")

    def _get(self) -> bytes:
        got = HOME / "boot.got"
        got.unlink(missing_ok=True)
        said = self._tftp("get", "boot.img", str(got))
        if not got.exists() or not got.stat().st_size:
            raise WrongError(f"tftp: {said or 'nothing came'}")
        return got.read_bytes()

    def _tftp(self, *command: str) -> str:
        """What it says; its exit status is 0 whatever it comes to."""
        return run("tftp", "-m", "binary", self.server, "-c", *command).strip()


class Web(Client):
    """A page, from either server."""

    servers = ("192.0.2.12", "192.0.2.13")

    def use(self, n: int) -> None:
        first_of(self.servers, self._get)

    @staticmethod
    def _get(server: str) -> None:
        if "All is well" not in run("curl", "-fsS", "--max-time", "2", f"http://{server}/"):
            raise WrongError("WRONG: another page")


class Git(Client):
    """Commits, pushed."""

    pace = 1.0
    url = "http://192.0.2.14/git/site.git"
    clone = HOME / "git"

    def begin(self) -> None:
        shutil.rmtree(self.clone, ignore_errors=True)
        run("git", "clone", "--quiet", self.url, str(self.clone))
        for key, value in (("user.name", "client"), ("user.email", "client@site.example"), ("gc.auto", "0")):
            run("git", "config", key, value, cwd=self.clone)
        run("git", "checkout", "--quiet", "-B", "main", cwd=self.clone)

    def use(self, n: int) -> None:
        run("git", "commit", "--quiet", "--allow-empty", "-m", f"use {n}", cwd=self.clone)
        slow = ("-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=8")  # seconds
        run("git", *slow, "push", "--quiet", "origin", "main", cwd=self.clone, seconds=20)

    def there(self) -> set[int]:
        look = HOME / "git-verify"
        shutil.rmtree(look, ignore_errors=True)
        run("git", "clone", "--quiet", "--bare", self.url, str(look), seconds=30)
        return numbers(run("git", "log", "--format=%s", cwd=look).replace("use ", "").split())


class Hg(Client):
    """Commits, pushed."""

    pace = 2.0
    url = "http://192.0.2.15/"
    clone = HOME / "hg"

    def begin(self) -> None:
        shutil.rmtree(self.clone, ignore_errors=True)
        run("hg", "clone", "--quiet", self.url, str(self.clone), seconds=30)

    def use(self, n: int) -> None:
        (self.clone / "uses").open("a").write(f"{n}\n")
        run("hg", "commit", "--quiet", "--addremove", "--user", "client", "-m", f"use {n}", cwd=self.clone, seconds=30)
        run("hg", "push", "--quiet", self.url, cwd=self.clone, seconds=20)

    def there(self) -> set[int]:
        look = HOME / "hg-verify"
        shutil.rmtree(look, ignore_errors=True)
        run("hg", "clone", "--quiet", "--noupdate", self.url, str(look), seconds=60)
        return numbers(run("hg", "log", "--template", "{desc}\n", cwd=look, seconds=30).replace("use ", "").split())


class Ci(Client):
    """Builds that are asked for."""

    pace = 3.0
    api = "http://192.0.2.16:8010/api/v2"

    def use(self, n: int) -> None:
        order = {"jsonrpc": "2.0", "id": n, "method": "force", "params": {"builderid": "1", "reason": f"use {n}"}}
        head = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{self.api}/forceschedulers/force", json.dumps(order).encode(), head)
        with urllib.request.urlopen(asked, timeout=12) as answer:
            if "result" not in json.load(answer):
                raise WrongError("the build was refused")

    def there(self) -> set[int]:
        with urllib.request.urlopen(f"{self.api}/buildsets?field=reason", timeout=60) as answer:
            return numbers(one["reason"].rpartition("use ")[2] for one in json.load(answer)["buildsets"])


class Queue(Client):
    """Jobs for machines."""

    server = ("192.0.2.17", 11300)

    def use(self, n: int) -> None:
        with socket.create_connection(self.server, timeout=3) as channel:
            job = str(n).encode()
            channel.sendall(b"put 0 0 60 %d\r\n%s\r\n" % (len(job), job))
            if not channel.recv(100).startswith(b"INSERTED"):
                raise WrongError("the job was not taken")

    def there(self) -> set[int]:
        found: set[int] = set()
        with socket.create_connection(self.server, timeout=PATIENCE) as channel, channel.makefile("rwb") as talk:
            while True:
                talk.write(b"reserve-with-timeout 0\r\n")
                talk.flush()
                word, *rest = talk.readline().split()
                if word != b"RESERVED":
                    return found  # its connection ends, and all are in the queue again
                found.add(int(talk.read(int(rest[1]) + 2)))


class Postgres(Client):
    """Rows, committed."""

    psql = ("/usr/lib/postgresql/15/bin/psql", "-qAtX", "-U", "postgres", "-h", "192.0.2.19")

    def begin(self) -> None:
        run(*self.psql, "-c", "CREATE TABLE IF NOT EXISTS uses (n integer PRIMARY KEY)")

    def use(self, n: int) -> None:
        run(*self.psql, "-c", f"INSERT INTO uses VALUES ({n})")

    def there(self) -> set[int]:
        return numbers(run(*self.psql, "-c", "SELECT n FROM uses").split())


class Pgbench(Client):
    """Two clients of pgbench, ten transfers each: a use is all of them, and what was moved adds up everywhere."""

    pace = 1.0
    at = ("-U", "postgres", "-h", "192.0.2.19", "postgres")
    transfer = r"""\set aid random(1, 100000)
\set tid random(1, 10)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, filler)
    VALUES (:tid, 1, :aid, :delta, CURRENT_TIMESTAMP, :use);
END;
"""
    sums = (
        "(SELECT sum(abalance) FROM pgbench_accounts)",
        "(SELECT sum(tbalance) FROM pgbench_tellers)",
        "(SELECT sum(bbalance) FROM pgbench_branches)",
        "(SELECT coalesce(sum(delta), 0) FROM pgbench_history)",
    )

    def begin(self) -> None:
        if run(*Postgres.psql, "-c", "SELECT to_regclass('pgbench_history')").strip() == "":
            run("pgbench", *self.at, "--initialize", "--quiet", seconds=60)
        (HOME / "transfer.sql").write_text(self.transfer)

    def use(self, n: int) -> None:
        script = ("--file", str(HOME / "transfer.sql"), "--define", f"use={n}")
        run("pgbench", "--no-vacuum", "--client=2", "--transactions=10", *script, *self.at, seconds=20)

    def there(self) -> set[int]:
        """The uses of which every transfer is there."""
        sums = run(*Postgres.psql, "-c", f"SELECT {', '.join(self.sums)}", seconds=30).strip().split("|")
        if len(set(sums)) != 1:
            raise WrongError(f"accounts, tellers, branches and history add up to {', '.join(sums)}")
        whole = "SELECT filler FROM pgbench_history GROUP BY filler HAVING count(*) = 20"
        return numbers(run(*Postgres.psql, "-c", whole, seconds=30).split())


def options(*words: str) -> list[str]:
    return [part for word in words for part in ("-o", word)]


class PostgresRead(Client):
    """Rows, counted at a replica."""

    def use(self, n: int) -> None:
        run(*Postgres.psql[:-1], "192.0.2.20", "-c", "SELECT count(*) FROM uses")


class Login(Client):
    """A user who logs in and writes into the home directory."""

    pace = 1.0
    ssh = ("ssh", "-F", "none", "-i", KEY, *options("BatchMode=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR"),
           *options("UserKnownHostsFile=/dev/null", "ConnectTimeout=5"), "root@192.0.2.18")  # fmt: skip

    def use(self, n: int) -> None:
        # Not where the home directories should be and are not.
        run(*self.ssh, f"mountpoint -q /home && echo {n} >>/home/logins && sync /home/logins", seconds=20)

    def there(self) -> set[int]:
        return numbers(run(*self.ssh, "cat /home/logins", seconds=30).split())


CLIENTS: dict[str, type[Client]] = {
    "nfs": Nfs, "ldap": Ldap, "dns": Dns, "dhcp": Dhcp, "tftp": Tftp, "web": Web, "git": Git, "hg": Hg, "ci": Ci,
    "queue": Queue,
    "postgres": Postgres, "pgbench": Pgbench, "postgres-read": PostgresRead, "login": Login,
}  # fmt: skip


def first_of(servers: Iterable[str], ask: Callable[[str], object]) -> None:
    """One that answers is enough. Raises what the last one came to."""
    trouble: Exception | None = None
    for server in servers:
        try:
            ask(server)
        except (WrongError, OSError) as e:
            trouble = e
        else:
            return
    assert trouble is not None
    raise trouble


def numbers(words: Iterable[str]) -> set[int]:
    return {int(word) for word in words if word.isdecimal()}


def keep_using(name: str, log: Path) -> None:
    """Until SIGTERM. A process of its own: what one waits for (NFS, above all) must not hold up another."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    client, begun = CLIENTS[name](), False
    with log.open("a", buffering=1) as out:
        for n in itertools.count(int((time.time() - SINCE) * 10)):  # none that a run before has used
            began = time.monotonic()
            try:
                if not begun:
                    client.begin()
                    begun = True
                client.use(n)
            except (WrongError, OSError, ValueError) as e:
                out.write(f"error {name} {n} {e}\n")
            else:
                out.write(f"ack {name} {n} {began:.3f} {time.monotonic():.3f}\n")
            if ended.wait(client.pace):
                return


def use_all(log: Path, names: list[str]) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    log.write_text("")
    processes = [multiprocessing.Process(target=keep_using, args=(name, log)) for name in names]
    for process in processes:
        process.start()

    def end(*_: object) -> None:
        for process in processes:
            process.terminate()

    signal.signal(signal.SIGTERM, end)
    for process in processes:
        process.join()


def verify(log: Path, names: list[str]) -> dict[str, object]:
    """Per service: how many uses were acknowledged, which of them have left nothing, what must not be."""
    acked: dict[str, list[int]] = {name: [] for name in names}
    wrong: dict[str, list[str]] = {name: [] for name in names}
    for line in log.read_text().splitlines():
        word, name, n, text = line.split(" ", 3)
        if name in acked and word == "ack":
            acked[name].append(int(n))
        elif name in wrong and text.startswith("WRONG"):
            wrong[name].append(line)
    found = {}
    for name in names:
        lost: list[int] = []
        try:
            there = CLIENTS[name]().there()
            lost = [] if there is None else [n for n in acked[name] if n not in there]
        except (WrongError, OSError) as e:
            wrong[name].append(f"it cannot be compared: {e}")
        found[name] = {"uses": len(acked[name]), "lost": lost[:10], "wrong": wrong[name][:10]}
    return dict(found)


def main() -> None:
    what, log, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    if what == "run":
        with contextlib.suppress(KeyboardInterrupt):
            use_all(log, names)
    else:
        print(json.dumps(verify(log, names)))


if __name__ == "__main__":
    main()
