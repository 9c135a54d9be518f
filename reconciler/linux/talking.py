"""Agents ask each other: a line over TCP, a line back (`reconciler.failsafe`). Who it is, the caller checks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from resources.machine import MachineError

LONGEST = 4000  # bytes of a line
PATIENCE = 2.0  # seconds for somebody's question, once connected


async def ask(address: str, port: int, message: bytes, timeout: float) -> bytes | None:
    """The answer; None when none came in time."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(address, port, limit=LONGEST)
            writer.write(message + b"\n")
            line = await reader.readline()
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        if writer is not None:
            writer.close()
    return line[:-1] if line.endswith(b"\n") else None


async def serve(port: int, answer: Callable[[bytes], bytes | None]) -> None:
    """Until cancelled. Raises MachineError."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                line = await reader.readline()
                reply = answer(line[:-1]) if line.endswith(b"\n") else None
                if reply is not None:
                    writer.write(reply + b"\n")
                    await writer.drain()
        except (OSError, TimeoutError, ValueError):
            return  # who asked tries again
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(one, None, port, limit=LONGEST)
    except OSError as e:
        raise MachineError(f"port {port} cannot be listened to: {e.strerror}") from e
    async with server:
        await server.serve_forever()
