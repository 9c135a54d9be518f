"""System calls that Python 3.11 does not have: namespaces and the mount API of Linux 5.2 (fsopen(2) and its kin).

Numbers are those of every architecture since 5.2 (the unified table, arch/*/syscall.tbl). Errors are OSError.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _FSPICK, _OPENAT2, _MOUNT_SETATTR = 429, 430, 431, 432, 433, 437, 442

FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE, FSCONFIG_CMD_RECONFIGURE = 0, 1, 6, 7
FSPICK_CLOEXEC, FSPICK_SYMLINK_NOFOLLOW = 0x1, 0x2
MOUNT_ATTR_RDONLY = 0x1
AT_SYMLINK_NOFOLLOW = 0x100
MOVE_MOUNT_F_EMPTY_PATH = 0x4
FSOPEN_CLOEXEC = FSMOUNT_CLOEXEC = 1
RESOLVE_IN_ROOT = 0x10
UMOUNT_NOFOLLOW = 8
AT_FDCWD = -100


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _call(number: int, what: str, *arguments: int | bytes | None) -> int:
    plain = [ctypes.c_long(one) if isinstance(one, int) else ctypes.c_char_p(one) for one in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *plain), what)


def setns(fd: int, kind: int) -> None:
    """setns(2), of the calling thread."""
    _checked(_libc.setns(fd, kind), "setns")


def unshare(kind: int) -> None:
    """unshare(2), of the calling thread."""
    _checked(_libc.unshare(kind), "unshare")


def fsopen(fstype: str) -> int:
    """A filesystem context to be configured."""
    return _call(_FSOPEN, fstype, fstype.encode(), FSOPEN_CLOEXEC)


def fsconfig(fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """Configure it, or with FSCONFIG_CMD_CREATE make its superblock."""
    _call(_FSCONFIG, key or "", fd, command, key.encode() if key else None, value.encode() if value else None, 0)


def fspick(target: str) -> int:
    """A context to configure anew the filesystem that is mounted there."""
    return _call(_FSPICK, target, AT_FDCWD, target.encode(), FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW)


def clear_readonly(target: str) -> None:
    """mount_setattr(2): of this mount alone, not of its filesystem."""
    attributes = struct.pack("QQQQ", 0, MOUNT_ATTR_RDONLY, 0, 0)
    _call(_MOUNT_SETATTR, target, AT_FDCWD, target.encode(), AT_SYMLINK_NOFOLLOW, attributes, len(attributes))


def fsmount(fd: int, attributes: int) -> int:
    """A mount of it that is nowhere yet."""
    return _call(_FSMOUNT, "fsmount", fd, FSMOUNT_CLOEXEC, attributes)


def move_mount(fd: int, target: str) -> None:
    """Put it at `target` in the mount namespace of the calling thread."""
    _call(_MOVE_MOUNT, target, fd, b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH)


def umount(target: str) -> None:
    """umount2(2) without following a symbolic link."""
    _checked(_libc.umount2(target.encode(), UMOUNT_NOFOLLOW), target)


def open_in_root(root: int, path: str, flags: int) -> int:
    """openat2(2): `path` below the directory `root`, whose links cannot lead out of it."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
    return _call(_OPENAT2, path, root, path.encode(), how, len(how))


@contextmanager
def network_namespace(path: str) -> Iterator[None]:
    """This thread is in another network namespace meanwhile: sockets that are made here belong to it for good.

    Nothing in here may await: other tasks run on this thread.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there, CLONE_NEWNET)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)
