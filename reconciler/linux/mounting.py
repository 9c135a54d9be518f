"""Filesystems into a running container's mount namespace, without a device node in it; or onto the host.

fsopen, fsconfig and fsmount here, then move_mount in a thread that has entered the namespace: setns(2) lets a thread
change its mount namespace once it shares its working directory with no other (unshare(CLONE_FS)). It ends there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Callable, Sequence

from reconciler.linux import syscalls
from resources.machine import Busy, MachineError, TimedOut

ATTRIBUTES = {
    "ro": 0x01,
    "nosuid": 0x02,
    "nodev": 0x04,
    "noexec": 0x08,
    "noatime": 0x10,
    "strictatime": 0x20,
    "nodiratime": 0x80,
}  # MOUNT_ATTR_* of linux/mount.h
NOT_THE_KERNELS = frozenset({"defaults", "rw", "relatime", "atime", "auto", "noauto", "nofail", "_netdev"})
WHY = {
    errno.EINVAL: "it is no {fstype}, or {options} is not an option of that",
    errno.EUCLEAN: "the filesystem is damaged: fsck it by hand",
    errno.EROFS: "the device can only be read",
    errno.EBUSY: "the device is in use by another mount",
    errno.EIO: "the device answers with I/O errors",
    errno.ENODEV: "this kernel has no {fstype} (modprobe {fstype})",
    errno.ENOTBLK: "it is no block device",
    errno.EMEDIUMTYPE: "the disk is not Primary here",
    errno.EACCES: "the disk is not Primary here",
}


async def mount(
    device: str, target: str, *, fstype: str, options: Sequence[str], init: int | None, timeout: float
) -> None:
    """See `Machine.mount`; `init`: a process of the namespace, None for the host. Raises MachineError."""

    def job(enter: Callable[[], None]) -> None:
        mounted = make(device, fstype, options)
        try:
            enter()
            os.makedirs(target, exist_ok=True)
            syscalls.move_mount(mounted, target)
        finally:
            os.close(mounted)  # an open one would keep the device in use

    try:
        await in_thread(job, timeout, f"mounting {target}", init)
    except OSError as e:
        why = WHY.get(e.errno or 0, e.strerror or "").format(fstype=fstype, options=",".join(options) or "none")
        raise MachineError(f"{device} cannot be mounted at {target}: {why}") from e


def make(device: str, fstype: str, options: Sequence[str]) -> int:
    """A mount of the device that is nowhere yet. Raises OSError."""
    context = syscalls.fsopen(fstype)
    try:
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, "source", device)
        for option in options:
            _configure(context, option)
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE)
        return syscalls.fsmount(context, sum(ATTRIBUTES.get(option, 0) for option in set(options)))
    finally:
        os.close(context)


def _configure(context: int, option: str) -> None:
    if option in NOT_THE_KERNELS or (option in ATTRIBUTES and option != "ro"):
        return
    key, has_value, value = option.partition("=")
    if has_value:
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, key, value)
    else:
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, key)


async def unmount(target: str, *, init: int | None, timeout: float) -> None:
    """See `Machine.unmount`. Raises Busy, MachineError."""

    def job(enter: Callable[[], None]) -> None:
        enter()
        syscalls.umount(target)

    try:
        await in_thread(job, timeout, f"unmounting {target}", init)
    except OSError as e:
        if e.errno == errno.EBUSY:
            raise Busy(f"{target} is in use") from e
        if e.errno not in (errno.EINVAL, errno.ENOENT):  # not mounted, or not even there
            raise MachineError(f"{target} cannot be unmounted: {e.strerror}") from e


async def make_writable(target: str, *, init: int | None, timeout: float) -> None:
    """See `Machine.make_writable`: the filesystem's mark, then the mount's. Raises MachineError."""

    def job(enter: Callable[[], None]) -> None:
        enter()
        context = syscalls.fspick(target)
        try:
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, "rw")
            syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_RECONFIGURE)
        finally:
            os.close(context)
        syscalls.clear_readonly(target)

    try:
        await in_thread(job, timeout, f"making {target} writable", init)
    except OSError as e:
        refused = "the kernel saw an error on it (dmesg), or its device can only be read"
        why = refused if e.errno in (errno.EROFS, errno.EUCLEAN, errno.EIO) else e.strerror
        raise MachineError(f"{target} cannot be made writable again: {why}") from e


async def in_thread(job: Callable[[Callable[[], None]], None], timeout: float, what: str, init: int | None) -> None:
    """Run `job(enter)` in a thread of its own; `enter()` takes it into the mount namespace of `init`, None: it stays.

    What OSError it raises, raises. TimedOut: the kernel has not come back; such a thread cannot be ended, and the next
    observation tells what it did.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def enter() -> None:
        if init is None:
            return
        namespace = os.open(f"/proc/{init}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.unshare(syscalls.CLONE_FS)
            syscalls.setns(namespace, syscalls.CLONE_NEWNS)
        finally:
            os.close(namespace)

    def tell(error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(None)

    def run() -> None:
        error: BaseException | None = None
        try:
            job(enter)
        except BaseException as e:  # noqa: BLE001 - handed over to the one who waits
            error = e
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=run, name=what, daemon=True).start()
    try:
        async with asyncio.timeout(timeout):
            await done
    except TimeoutError as e:
        raise TimedOut(f"{what}: the kernel is not done within {timeout:.0f} s") from e
