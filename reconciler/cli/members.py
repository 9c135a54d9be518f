"""etcd's members over HTTP, beside the Store: each one's health and clock, and who the members are.

/health and the date of its answer, and the JSON gateway's /v3/cluster/member/list (etcd 3.4 and later; where it is off
or wants a user, the members are not known).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from reconciler.cli.config import Config
from reconciler.doctor import Endpoint

PATIENCE = 5.0  # seconds
Answer = tuple[str, str]  # the body, and the header Date


async def endpoints(config: Config) -> list[Endpoint]:
    """Each, as it answers now."""
    return list(await asyncio.gather(*(asyncio.to_thread(_endpoint, url, config) for url in config.endpoints)))


async def members(config: Config) -> dict[str, list[str]] | None:
    """By name, the machines that they talk to each other at; None where nobody says."""
    for url in config.endpoints:
        found = await asyncio.to_thread(_members, url, config)
        if found is not None:
            return found
    return None


def _endpoint(url: str, config: Config) -> Endpoint:
    try:
        asked = time.time()
        body, date = _get(f"{url}/health", config)
        middle = (asked + time.time()) / 2
    except (OSError, ValueError) as e:
        return Endpoint(url, _said(e))
    return Endpoint(url, unhealthy(body), ahead(date, middle))


def unhealthy(body: str) -> str:
    """Of /health: why not, or ""."""
    try:
        found = json.loads(body)
    except ValueError:
        return "it does not speak as etcd does"
    if not isinstance(found, dict) or str(found.get("health")).lower() != "true":
        reason = found.get("reason") if isinstance(found, dict) else ""
        return f"it says that it is not healthy{f' ({reason})' if reason else ''}: is there a quorum?"
    return ""


def ahead(date: str, here: float) -> float | None:
    """Seconds by which the clock behind an answer's Date (whole seconds) is ahead of `here`, a time in seconds."""
    try:
        return parsedate_to_datetime(date).timestamp() + 0.5 - here
    except (TypeError, ValueError):
        return None


def _members(url: str, config: Config) -> dict[str, list[str]] | None:
    try:
        body, _ = _get(f"{url}/v3/cluster/member/list", config, b"{}")
        return parse(body)
    except (OSError, ValueError):
        return None


def parse(body: str) -> dict[str, list[str]]:
    """Of /v3/cluster/member/list. Raises ValueError. A member that has not started yet has no name, but an ID."""
    found: dict[str, list[str]] = {}
    listed: Sequence[Any] = json.loads(body).get("members", ())
    for one in listed:
        urls = one.get("peerURLs", ())
        found[str(one.get("name") or one.get("ID"))] = sorted({urlsplit(url).hostname or url for url in urls})
    if not found:
        raise ValueError("no members")
    return found


def _get(url: str, config: Config, data: bytes | None = None) -> Answer:
    """Raises OSError. An answer that says no has a body too."""
    request = urllib.request.Request(url, data)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if url.startswith("https"):
        handlers.append(urllib.request.HTTPSHandler(context=_tls(config)))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(request, timeout=PATIENCE) as reply:
            return reply.read().decode(errors="replace"), reply.headers.get("Date", "")
    except urllib.error.HTTPError as e:
        if e.code != 503:  # how /health says no
            raise
        return e.read().decode(errors="replace"), e.headers.get("Date", "")


def _tls(config: Config) -> ssl.SSLContext:
    """Raises OSError (SSLError is one)."""
    files = config.tls
    context = ssl.create_default_context(cafile=files.ca if files else None)
    if files and files.certificate:
        context.load_cert_chain(files.certificate, files.key)
    return context


def _said(e: Exception) -> str:
    reason = getattr(e, "reason", e)
    return f"it does not answer ({getattr(reason, 'strerror', None) or reason})"
