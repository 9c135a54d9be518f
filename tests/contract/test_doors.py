"""How one gets in to a real etcd: endpoints, certificates, users. The simulated one has no doors."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.etcd import Etcd, Tls
from reconciler.store import Denied, StoreError, StoreUnreachable, Txn
from tests.contract.members import Members, free_ports
from tests.contract.sites import watched

USER, PASSWORD, KEY = "hactl", "a b$c", "/hactl/a"
NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
TOKEN_LASTS = 3  # seconds, so that tokens expire under the tests


def using(etcd: Callable[[], Etcd], story: Callable[[Etcd], Coroutine[Any, Any, Any]]) -> Any:
    """Make it inside a loop, close it in the same."""

    async def run() -> Any:
        store = etcd()
        try:
            return await story(store)
        finally:
            await store.close()

    return asyncio.run(run())


# -- endpoints ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoints", [[], ["127.0.0.1:2379"], ["http://a"], ["ftp://a:1"], ["http://a:1", "https://b:1"]]
)
def test_what_is_no_endpoint_is_named(endpoints: list[str]) -> None:
    with pytest.raises(StoreError, match="must all be like http://") as e:
        Etcd(endpoints, client="test")
    assert all(endpoint in str(e.value) for endpoint in endpoints)


def test_an_endpoint_where_nobody_listens_is_named() -> None:
    [port] = free_ports(1)
    with pytest.raises(StoreUnreachable, match=f"http://127.0.0.1:{port}"):
        using(lambda: Etcd([f"http://127.0.0.1:{port}"], client="test"), lambda store: store.get(KEY))


def test_one_good_endpoint_is_enough(members: Members) -> None:
    dead = [f"http://127.0.0.1:{port}" for port in free_ports(2)]
    endpoints = [*dead, members.endpoints[0]]
    assert using(lambda: Etcd(endpoints, client="test"), lambda store: store.list("/hactl/")).revision > 0


def test_a_password_never_goes_over_the_wire_in_the_clear(members: Members) -> None:
    with pytest.raises(Denied, match="only sent over TLS"):
        using(
            lambda: Etcd(members.endpoints, user=USER, password=PASSWORD, client="test"), lambda store: store.get(KEY)
        )


# -- certificates and users --------------------------------------------------------------------------------------------


class Locked:
    """One member with client certificates and users, the files to get in with, and files that do not let one in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._authority("ca")
        self._authority("other-ca")
        self._certificate("server", "ca", "subjectAltName=IP:127.0.0.1")
        self._certificate("client", "ca", "extendedKeyUsage=clientAuth")
        self._certificate("stranger", "other-ca", "extendedKeyUsage=clientAuth")
        more = ["--client-cert-auth", "--trusted-ca-file", f"{root}/ca.pem", f"--auth-token-ttl={TOKEN_LASTS}"]
        more += ["--cert-file", f"{root}/server.pem", "--key-file", f"{root}/server.key"]
        tls = ["--cacert", f"{root}/ca.pem", "--cert", f"{root}/client.pem", "--key", f"{root}/client.key"]
        self.members = Members(1, more, tls)
        self._make_users()

    def _openssl(self, command: str) -> None:
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, cwd=self.root)

    def _authority(self, name: str) -> None:
        self._openssl(f"req -x509 {NEW_KEY} -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem")

    def _certificate(self, name: str, authority: str, extension: str) -> None:
        (self.root / f"{name}.ext").write_text(extension)
        self._openssl(f"req {NEW_KEY} -subj /O={name} -keyout {name}.key -out {name}.csr")
        signed = f"-CA {authority}.pem -CAkey {authority}.key -CAcreateserial -extfile {name}.ext -days 2"
        self._openssl(f"x509 -req -in {name}.csr -out {name}.pem {signed}")

    def _make_users(self) -> None:
        ctl = self.members.ctl
        ctl("user", "add", f"root:{PASSWORD}")
        ctl("user", "grant-role", "root", "root")
        ctl("role", "add", "agent")
        for prefix in ("/hactl/", "/hactl-tokens/"):
            ctl("role", "grant-permission", "agent", "readwrite", "--prefix=true", prefix)
        ctl("user", "add", f"{USER}:{PASSWORD}")
        ctl("user", "grant-role", USER, "agent")
        ctl("user", "add", f"guest:{PASSWORD}")
        ctl("auth", "enable")

    def etcd(self, client: str = "client", ca: str = "ca", user: str = USER, password: str = PASSWORD) -> Etcd:
        own = (self.root / f"{client}.pem", self.root / f"{client}.key") if client else (None, None)
        tls = Tls(self.root / f"{ca}.pem", *own)
        return Etcd(self.members.endpoints, tls=tls, user=user, password=password, client="test")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    there = Locked(tmp_path_factory.mktemp("locked"))
    yield there
    there.members.end()


def test_a_user_with_a_certificate_gets_in_and_stays_when_tokens_expire(locked: Locked) -> None:
    async def story(store: Etcd) -> None:
        start = (await store.list("/hactl/")).revision
        seen = asyncio.create_task(watched(store, "/hactl/", start, lambda found: len(found) == 4))
        for i in range(4):
            assert await store.commit(Txn({}, {KEY: (str(i), 0)})) is not None
            lease = await store.grant(60)
            assert await store.keep_alive(lease) == 60
            await store.revoke(lease)
            await asyncio.sleep(TOKEN_LASTS + 1)
        assert [change.entry.value for change in await seen if change.entry] == ["0", "1", "2", "3"]

    using(locked.etcd, story)


@pytest.mark.parametrize(
    ("user", "password", "sentence"),
    [
        (USER, "wrong", "does not know this user with this password"),
        ("nobody", PASSWORD, "does not know this user with this password"),
        ("", "", "denies this user|asks for a user"),
        ("guest", PASSWORD, "grant its role readwrite"),
    ],
)
def test_who_may_not_is_told_why(locked: Locked, user: str, password: str, sentence: str) -> None:
    with pytest.raises(Denied, match=sentence):
        using(lambda: locked.etcd(user=user, password=password), lambda store: store.get(KEY))


def test_a_watch_by_who_may_not_is_denied(locked: Locked) -> None:
    with pytest.raises(Denied):
        using(lambda: locked.etcd(user="guest"), lambda store: watched(store, "/hactl/", 0, bool))


def test_a_certificate_that_does_not_fit_gets_nowhere_nor_does_plain_http(locked: Locked) -> None:
    async def refused(store: Etcd, where: str) -> None:
        with pytest.raises(StoreUnreachable, match=where):
            await store.get(KEY)
        await store.close()

    async def story(_: Etcd) -> None:
        [secure] = locked.members.endpoints
        plain = secure.replace("https:", "http:")
        wrong = [
            locked.etcd(client=client, ca=ca) for client, ca in (("", "ca"), ("stranger", "ca"), ("client", "other-ca"))
        ]
        await asyncio.gather(*(refused(one, secure) for one in wrong), refused(Etcd([plain], client="test"), plain))

    using(locked.etcd, story)


def test_a_file_that_cannot_be_read_is_named(locked: Locked) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        locked.etcd(ca="missing")
