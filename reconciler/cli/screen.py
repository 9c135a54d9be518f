"""The screen, pure: ages, tables, colours. Plain text that a pipe, a pager and a tired reader can use."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime

GREEN, YELLOW, RED = "32", "33", "31"
COLOURS = {"Ready": GREEN, "Starting": YELLOW, "Moving": YELLOW, "Stopping": YELLOW, "Waiting": YELLOW, "Standby": ""}


def seconds_since(text: str, now: datetime) -> float | None:
    """A record's stamp -> its age, never below 0: the hosts' clocks may differ. None when it is no time."""
    try:
        return max(0.0, (now - datetime.fromisoformat(text)).total_seconds())
    except (ValueError, TypeError):
        return None


def age(seconds: float | None) -> str:
    """8s, 41m, 2h 5m, 3d 2h"""
    if seconds is None:
        return "-"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 1:
        return f"{int(seconds)}s"
    if hours < 1:
        return f"{minutes}m"
    if days < 1:
        return f"{hours}h {minutes % 60}m"
    return f"{days}d {hours % 24}h"


def since(text: str) -> str:
    """How long ago a stamp is, now."""
    return age(seconds_since(text, datetime.now(UTC)))


def moment(text: str) -> str:
    """A stamp as a line of a log begins: 2026-11-24 07:02:11Z"""
    return f"{text[:10]} {text[11:19]}Z" if len(text) > 19 else text


def table(rows: Sequence[Sequence[str]], width: int | None = None, colours: Sequence[str] = ()) -> list[str]:
    """Lines, columns two spaces apart; `width`: the last column is wrapped under itself to fit a terminal of that many
    columns. `colours`: for each row, of its third column."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    indent = sum(widths) + 2 * len(widths)
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.ljust(size) for cell, size in zip(row, widths, strict=False)]
        if number < len(colours) and colours[number]:
            cells[2] = f"\x1b[{colours[number]}m{cells[2]}\x1b[0m"
        first, *more = _wrap(row[-1], width - indent if width else None)
        lines.append("  ".join([*cells, first]).rstrip())
        lines += [" " * indent + line for line in more]
    return lines


def _wrap(text: str, room: int | None) -> list[str]:
    if room is None or room < 24:
        return [text]
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


def is_terminal() -> bool:
    """Is a person looking at standard output?"""
    return sys.stdout.isatty()


def coloured() -> bool:
    """https://no-color.org"""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def colour_of(state: str) -> str:
    """Of a state's word."""
    return COLOURS.get(state, RED)


def columns() -> int | None:
    """The terminal's width; None where nothing is to be wrapped."""
    if not is_terminal():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return None
