"""The members of the cluster as this process reaches them: one channel each, and which one answers now.

Every unary call is `ask`: an attempt of about a second at the member that answered last, then at the next one, until
TOTAL. Each round through all members allows twice the time, so that a slow cluster is not mistaken for a lost one.
(gRPC's own list of addresses with pick_first stays with a member that was stopped.)
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
from aetcd.rpc import rpc_pb2, rpc_pb2_grpc
from grpc.aio import AioRpcError

from reconciler.etcd.refusals import Gone, brief, is_passing, is_stale, refusal, text_of
from reconciler.store import Denied, StoreError, StoreUnreachable

ATTEMPT = 1.0
TOTAL = 10.0
TOKEN_LIFE = 60.0  # etcd's --auth-token-ttl is 300 s unless set; we ask anew long before
CLOSED = "the connection to etcd was closed"

# Pings find a member that was stopped; those without a call under way would be answered with GOAWAY too_many_pings.
# A lone keepalive_timeout took over 60 s to notice, http2.ping_timeout does it. A catching-up watch exceeds 4 MiB.
OPTIONS = (
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tls:
    """Files in PEM: who may have signed the members' certificates (None: the system's), and our own with its key."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> Any:
        """For a channel. Raises StoreError when a file cannot be read."""
        try:
            ca, key, certificate = (
                path.read_bytes() if path else None for path in (self.ca, self.key, self.certificate)
            )
        except OSError as e:
            raise StoreError(f"{e.filename} cannot be read ({e.strerror}); it is needed to talk to etcd") from e
        return grpc.ssl_channel_credentials(ca, key, certificate)


class Member:
    """One endpoint: its channel and the services on it."""

    def __init__(self, endpoint: str, credentials: Any | None) -> None:
        self.endpoint = endpoint
        target = urlsplit(endpoint).netloc
        self.channel = (
            grpc.aio.secure_channel(target, credentials, options=OPTIONS)
            if credentials
            else grpc.aio.insecure_channel(target, options=OPTIONS)
        )
        self.kv = rpc_pb2_grpc.KVStub(self.channel)
        self.lease = rpc_pb2_grpc.LeaseStub(self.channel)
        self.watch = rpc_pb2_grpc.WatchStub(self.channel)
        self.auth = rpc_pb2_grpc.AuthStub(self.channel)


@dataclass(frozen=True)
class Attempt:
    """One try at one member, over at `until` (of the loop's clock)."""

    member: Member
    metadata: Metadata
    until: float

    def _options(self) -> dict[str, Any]:
        left = self.until - asyncio.get_running_loop().time()
        return {"timeout": max(left, 0.001), "metadata": self.metadata}

    async def unary(self, rpc: Any, request: Any) -> Any:
        """One request, one reply."""
        return await rpc(request, **self._options())

    async def exchange(self, rpc: Any, request: Any) -> Any:
        """The same over a method that streams. Raises Gone when the member ends it without a reply."""
        call = rpc(**self._options())
        try:
            await call.write(request)
            reply = await call.read()
        except asyncio.InvalidStateError as e:
            raise Gone(str(e)) from e
        finally:
            call.cancel()
        if reply is grpc.aio.EOF:
            raise Gone("the stream ended")
        return reply


class Members:
    """All of them. `tasks`: what runs beside the callers, ended by `close`."""

    def __init__(self, endpoints: Sequence[str], tls: Tls | None, user: str, password: str) -> None:
        _check(endpoints, user)
        secure = endpoints[0].startswith("https:")
        credentials = (tls or Tls()).credentials() if secure else None
        self._members = [Member(endpoint, credentials) for endpoint in endpoints]
        self._at = 0
        self._user, self._password = user, password
        self._token, self._renew_at = "", 0.0
        self._login = asyncio.Lock()
        self.closed = False
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> Member:
        """The one that answered last, or the next to try."""
        return self._members[self._at]

    @property
    def has_user(self) -> bool:
        """Is there someone to authenticate as?"""
        return bool(self._user)

    def leave(self, member: Member) -> None:
        """It does not answer: on to the next, unless another call has done so already."""
        if member is self.current:
            self._at = (self._at + 1) % len(self._members)

    async def ask(self, rpc: Callable[[Member], Any], request: Any, until: float | None = None) -> tuple[Any, int]:
        """The reply, and how many times the request was sent: it must be harmless to repeat.

        Raises StoreUnreachable, Denied, LeaseLost or StoreError.
        """

        async def job(attempt: Attempt) -> Any:
            return await attempt.unary(rpc(attempt.member), request)

        return await self.attempt(job, until or deadline())

    async def attempt(self, job: Callable[[Attempt], Awaitable[T]], until: float) -> tuple[T, int]:
        """Run the job at one member after another; its result, and how often it was begun."""
        tried: dict[str, str] = {}
        stale = 0
        for count in itertools.count(1):
            metadata = await self.metadata(until)
            member = self.current
            try:
                return await self._once(job, member, metadata, self._patience(count, until, tried)), count
            except Gone as e:
                tried[member.endpoint] = str(e)
                self.leave(member)
            except AioRpcError as e:
                tried[member.endpoint] = text = text_of(e)
                if self._user and is_stale(text) and stale < 3:
                    stale += 1
                    self.forget_token()
                elif is_passing(e):
                    self.leave(member)
                else:
                    raise refusal(text) from e
            if count % len(self._members) == 0:
                await asyncio.sleep(0.1)
        raise AssertionError("unreachable")

    def _patience(self, count: int, until: float, tried: dict[str, str]) -> float:
        """Until when the attempt may last. Raises StoreUnreachable when there is no time for it."""
        now = asyncio.get_running_loop().time()
        if now >= until:
            said = ", ".join(f"{endpoint} ({brief(tried.get(endpoint, 'not tried'))})" for endpoint in self.endpoints)
            raise StoreUnreachable(f"etcd did not answer in time; tried {said}")
        return min(until, now + ATTEMPT * 2.0 ** ((count - 1) // len(self._members)))

    async def _once(self, job: Callable[[Attempt], Awaitable[T]], member: Member, metadata: Metadata, end: float) -> T:
        if self.closed:
            raise StoreUnreachable(CLOSED)
        try:
            return await job(Attempt(member, metadata, end))
        except asyncio.CancelledError:
            self.raise_if_closed()
            raise

    def raise_if_closed(self) -> None:
        """A channel that is closed cancels its calls; the caller's task was not cancelled and must not believe so."""
        task = asyncio.current_task()
        if self.closed and task is not None and not task.cancelling():
            raise StoreUnreachable(CLOSED)

    @property
    def endpoints(self) -> list[str]:
        """In the order given."""
        return [member.endpoint for member in self._members]

    async def metadata(self, until: float) -> Metadata:
        """What says who we are: a token, when there is a user. Raises Denied or StoreUnreachable."""
        if not self._user:
            return ()
        async with self._login:
            if asyncio.get_running_loop().time() >= self._renew_at:
                self._token = await self._authenticate(until)
                self._renew_at = asyncio.get_running_loop().time() + TOKEN_LIFE
        return (("token", self._token),) if self._token else ()

    def forget_token(self) -> None:
        """The next call authenticates anew."""
        self._renew_at = 0.0

    async def _authenticate(self, until: float) -> str:
        """A new token; "" when the cluster has authentication switched off (as etcd's own client does)."""
        request = rpc_pb2.AuthenticateRequest(name=self._user, password=self._password)
        tried: dict[str, str] = {}
        for count in itertools.count(1):
            member, end = self.current, self._patience(count, until, tried)
            try:
                reply = await self._once(lambda a: a.unary(a.member.auth.Authenticate, request), member, (), end)
                return str(reply.token)
            except AioRpcError as e:
                tried[member.endpoint] = text = text_of(e)
                if "authentication is not enabled" in text:
                    return ""
                if not is_passing(e):
                    raise refusal(text) from e
                self.leave(member)
            await asyncio.sleep(0.05)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """End every call and task; those who wait for one get StoreUnreachable."""
        self.closed = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.gather(*(member.channel.close() for member in self._members))


def deadline() -> float:
    """When a call that begins now must have ended, on the loop's clock."""
    return asyncio.get_running_loop().time() + TOTAL


def _check(endpoints: Sequence[str], user: str) -> None:
    schemes = {urlsplit(endpoint).scheme for endpoint in endpoints}
    if len(schemes) != 1 or not schemes <= {"http", "https"} or not all(urlsplit(e).port for e in endpoints):
        said = ", ".join(endpoints) or "none"
        raise StoreError(f"etcd's endpoints must all be like http://192.0.2.1:2379, or all https://…; these are {said}")
    if user and schemes != {"https"}:
        raise Denied(f"user {user!r} and its password are only sent over TLS; give https:// endpoints")
