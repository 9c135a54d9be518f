"""The systemd inside a container as D-Bus has it (org.freedesktop.systemd1(5)): asking it starts no process.

One connection to its system bus for each run of a container. It also tells when a unit changes. (systemd's private
socket is no way in: it does not serve peers whose PID its namespace does not know.)
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_method_call
from jeepney.auth import BEGIN, Authenticator
from jeepney.io.asyncio import DBusConnection

from resources.machine import Finished, MachineError, Unavailable

NAME = "org.freedesktop.systemd1"
MANAGER = DBusAddress("/org/freedesktop/systemd1", bus_name=NAME, interface=f"{NAME}.Manager")
BUS = DBusAddress("/org/freedesktop/DBus", bus_name="org.freedesktop.DBus", interface="org.freedesktop.DBus")
PROPERTIES = "org.freedesktop.DBus.Properties"
RESULT_OF = {".service": "Service", ".socket": "Socket", ".mount": "Mount", ".timer": "Timer", ".path": "Path"}
REMEMBERED = 100  # jobs that ended, should one end before its starter has heard of its beginning
CONNECTS = 5.0  # seconds
UNIT_FILES = ("UnitFilesChanged", "Reloading")  # signals after which any unit may be another


class Refused(MachineError):
    """systemd answered with an error; `name` is the D-Bus error's."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Manager:
    """`changed` is called when a unit that was asked for changes there.

    Not with every signal: to ask for a unit that does not run makes systemd load it and what it depends on, say so
    (UnitNew) and drop them again (UnitRemoved). Who looked again then would do nothing else.
    """

    def __init__(self, connection: DBusConnection, changed: Callable[[], None]) -> None:
        self._connection, self._changed = connection, changed
        self._replies: dict[int, asyncio.Future[Message]] = {}
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._asked: set[str] = set()  # object paths
        self._triggers: dict[str, str] = {}  # by unit: TriggeredBy, until unit files change
        self._receiving = asyncio.create_task(self._receive())

    @property
    def open(self) -> bool:
        return not self._receiving.done()

    def close(self) -> None:
        self._receiving.cancel()
        self._connection.writer.close()

    # -- the wire ----------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        try:
            while True:
                self._dispatch(await self._connection.receive())
        except (EOFError, OSError):
            pass  # the container or its systemd ended; callers are told below
        finally:
            for future in [*self._replies.values(), *self._waiting.values()]:
                if not future.done():
                    future.set_exception(Unavailable("the container's systemd has ended the connection"))

    def _dispatch(self, message: Message) -> None:
        fields = message.header.fields
        if serial := fields.get(HeaderFields.reply_serial):
            future = self._replies.pop(serial, None)
            if future is not None and not future.done():
                future.set_result(message)
        elif message.header.message_type is MessageType.signal:
            member = fields.get(HeaderFields.member)
            if member == "JobRemoved":
                self._job_ended(message.body[1], message.body[3])
            if member in UNIT_FILES:
                self._triggers.clear()
            if member in UNIT_FILES or fields.get(HeaderFields.path) in self._asked:
                self._changed()

    def _job_ended(self, path: str, result: str) -> None:
        self._ended[path] = result
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        future = self._waiting.pop(path, None)
        if future is not None and not future.done():
            future.set_result(result)

    async def call(self, to: DBusAddress, member: str, signature: str = "", body: tuple[Any, ...] = ()) -> Any:
        """The first value of the reply. Raises Refused, Unavailable."""
        if not self.open:
            raise Unavailable("the connection to the container's systemd has ended")
        message = new_method_call(to, member, signature or None, body)
        serial = next(self._connection.outgoing_serial)
        future = self._replies[serial] = asyncio.get_running_loop().create_future()
        try:
            await self._connection.send(message, serial=serial)
            reply = await future
        except OSError as e:
            raise Unavailable(f"the container's systemd does not answer: {e.strerror}") from e
        finally:
            self._replies.pop(serial, None)
        if reply.header.message_type is MessageType.error:
            said = reply.body[0] if reply.body else ""
            raise Refused(str(reply.header.fields.get(HeaderFields.error_name)), str(said))
        return reply.body[0] if reply.body else None

    async def _property(self, path: str, interface: str, name: str) -> Any:
        to = DBusAddress(path, bus_name=NAME, interface=PROPERTIES)
        return (await self.call(to, "Get", "ss", (f"{NAME}.{interface}", name)))[1]

    # -- what systemctl does -----------------------------------------------------------------------------------------

    async def systemctl(self, verb: str, units: list[str]) -> Finished:
        """systemctl(1)'s exit status and text, of `show`, `is-enabled`, `start`, `stop`, `reset-failed`. Raises
        Unavailable."""
        try:
            if verb == "show":
                return Finished(0, await self._show(units[0]), "")
            if verb == "is-enabled":
                state = str(await self.call(MANAGER, "GetUnitFileState", "s", (units[0],)))
                return Finished(0 if state.startswith("enabled") else 1, f"{state}\n", "")
            for unit in units:
                await self._do(verb, unit)
        except Refused as e:
            return Finished(5 if e.name.endswith("NoSuchUnit") else 1, "", f"Failed to {verb} {' '.join(units)}: {e}\n")
        return Finished(0, "", "")

    async def _show(self, unit: str) -> str:
        self._asked.add(object_path(unit))
        [found] = await self.call(MANAGER, "ListUnitsByNames", "as", ([unit],))
        load, active, sub, path = found[2], found[3], found[4], found[6]
        lines = [f"LoadState={load}", f"ActiveState={active}", f"SubState={sub}"]
        if load == "loaded":
            lines.append(f"TriggeredBy={await self._triggered_by(unit, path)}")
            kind = RESULT_OF.get(unit[unit.rfind(".") :], "")
            if kind and active == "failed":
                lines.append(f"Result={await self._property(path, kind, 'Result')}")
        return "\n".join(lines) + "\n"

    async def _triggered_by(self, unit: str, path: str) -> str:
        if unit not in self._triggers:
            self._triggers[unit] = " ".join(await self._property(path, "Unit", "TriggeredBy"))
        return self._triggers[unit]

    async def _do(self, verb: str, unit: str) -> None:
        if verb == "reset-failed":
            await self.call(MANAGER, "ResetFailedUnit", "s", (unit,))
            return
        method = {"start": "StartUnit", "stop": "StopUnit"}[verb]
        job = str(await self.call(MANAGER, method, "ss", (unit, "replace")))
        result = await self._job(job)
        if result not in ("done", "skipped"):
            why = {"failed": "it failed", "timeout": "it took too long", "dependency": "what it needs failed"}
            raise Refused("", f"Job for {unit} {why.get(result, result)} (journalctl -u {unit} in the container)")

    async def _job(self, path: str) -> str:
        if path in self._ended:
            return self._ended.pop(path)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[path] = future
        try:
            return await future
        finally:
            self._waiting.pop(path, None)


def object_path(unit: str) -> str:
    """rpcbind.service -> /org/freedesktop/systemd1/unit/rpcbind_2eservice: as systemd escapes it; `unit` is ASCII."""
    kept = (c.isalpha() or (c.isdigit() and at > 0) for at, c in enumerate(unit))
    return f"{MANAGER.object_path}/unit/" + "".join(
        c if k else f"_{ord(c):02x}" for c, k in zip(unit, kept, strict=True)
    )


async def connect(path: str, changed: Callable[[], None]) -> Manager:
    """To the system bus at that path. Raises Unavailable."""
    try:
        async with asyncio.timeout(CONNECTS):
            reader, writer = await asyncio.open_unix_connection(path)
            authenticator = Authenticator()
            for line in authenticator:
                writer.write(line)
                answer = await reader.read(1024)
                if not answer:
                    raise EOFError
                authenticator.feed(answer)
            writer.write(BEGIN)
            manager = Manager(DBusConnection(reader, writer), changed)
            await manager.call(BUS, "Hello")
            await manager.call(BUS, "AddMatch", "s", (f"type='signal',sender='{NAME}'",))
            await manager.call(MANAGER, "Subscribe")
    except (OSError, EOFError, TimeoutError, ValueError, Refused) as e:
        raise Unavailable(f"the container's systemd does not answer: {e or 'no end'}") from e
    return manager
