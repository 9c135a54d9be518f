"""What an error of etcd means: another member may do better, the token is stale, or a sentence for the operator.

The texts are etcd's own (api/v3rpc/rpctypes/error.go); codes alone do not tell them apart.
"""

from __future__ import annotations

from grpc import StatusCode
from grpc.aio import AioRpcError

from reconciler.store import Compacted, Denied, LeaseLost, StoreError

# UNKNOWN and INTERNAL are what a connection gives that breaks in the middle of an answer,
# CANCELLED a member that shuts down.
_PASSING = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNKNOWN,
        StatusCode.INTERNAL,
        StatusCode.CANCELLED,
        StatusCode.ABORTED,
    }
)
_STALE = ("invalid auth token", "user name is empty", "revision of auth store is old")


class Gone(Exception):
    """A member ended a stream without a word."""


class LeaseExists(StoreError):
    """There is a lease by this id."""


_REFUSALS: tuple[tuple[str, type[StoreError], str], ...] = (
    (
        "permission denied",
        Denied,
        "etcd denies this user the key; grant its role readwrite on the prefixes /hactl/ and /hactl-tokens/",
    ),
    ("authentication failed", Denied, "etcd does not know this user with this password; check both"),
    ("lease not found", LeaseLost, "the lease expired or was revoked"),
    ("lease already exists", LeaseExists, "there is a lease by this id"),
    ("has been compacted", Compacted, "the revision asked for is compacted away"),
    ("space exceeded", StoreError, "etcd's database is full; compact and defragment it, then: etcdctl alarm disarm"),
)


def brief(text: str) -> str:
    """Why a member did not answer, as one clause."""
    if "Deadline Exceeded" in text:
        return "no answer"
    if text.startswith("failed to connect to all addresses"):
        return text.rpartition(": ")[2]
    return text


def is_passing(error: AioRpcError) -> bool:
    """May another attempt, at another member, succeed? The request may also have been done."""
    return error.code() in _PASSING or "too many requests" in text_of(error)


def is_stale(text: str) -> bool:
    """Does etcd ask for a (new) token?"""
    return any(words in text for words in _STALE)


def text_of(error: AioRpcError) -> str:
    """etcd's words, or gRPC's."""
    return str(error.details() or error.code().name)


def refusal(text: str) -> StoreError:
    """The error to raise for what etcd said and will say again."""
    if is_stale(text):
        return Denied(f"etcd asks for a user and did not take ours ({text}); check user and password")
    for words, error, sentence in _REFUSALS:
        if words in text:
            return error(sentence)
    return StoreError(f"etcd refuses the request: {text}")
