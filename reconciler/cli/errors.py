"""Saying no: one sentence, one exit code. docs/exit-codes.md has them for people."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """What the exit status of hactl means. Scripts rely on them: none is ever given another meaning."""

    DONE = 0
    INTERNAL = 1  # a bug of ours
    WRONG = 2  # the input is wrong, or asks for nonsense
    UNSAFE = 3  # right, but it would not be safe, or is not ready now
    NO_ETCD = 4  # etcd does not answer
    NOT_YET = 5  # waited for, and it did not come about
    NO_PERMISSION = 6  # of this machine's or of etcd's
    LACKING = 7  # this host or its configuration lacks something
    INTERRUPTED = 130  # Ctrl-C, as shells have it
    NO_READER = 141  # who reads our output has gone (| head), as shells have it


class Refused(Exception):
    """The text is for the operator: it names the thing and the way out."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def refuse(code: Code, why: str, *more: str) -> Refused:
    """`refused: WHY. Nothing was changed.` and what else there is to say."""
    ended = why if why.endswith((".", "?", "!")) else f"{why}."
    return Refused(code, " ".join([f"refused: {ended}", "Nothing was changed.", *more]))
