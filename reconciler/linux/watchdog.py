"""A watchdog device (Documentation/watchdog/watchdog-api.rst): while it is open and not petted, this host is reset."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from resources.machine import MachineError

SIZE = 40  # struct watchdog_info: options, firmware version, 32 characters of identity
GETSUPPORT = 2 << 30 | SIZE << 16 | ord("W") << 8 | 0
KEEPALIVE = 2 << 30 | 4 << 16 | ord("W") << 8 | 5
SETTIMEOUT = 3 << 30 | 4 << 16 | ord("W") << 8 | 6
CAN_SET, MAGIC_CLOSE = 0x0080, 0x0100
CLASS = Path("/sys/class/watchdog")


class Watchdog:
    """Armed as long as this object is not disarmed, whatever becomes of the process. `seconds`: as the driver says."""

    def __init__(self, device: str, seconds: float) -> None:
        """Raises MachineError; a device that was refused is disarmed again, as far as its driver can."""
        if cannot_be_stopped(device):
            raise MachineError(
                f"{device} can never be disarmed (nowayout): the end of its use would reset this host; "
                "load its driver with nowayout=0 (options … nowayout=0 in /etc/modprobe.d)"
            )
        try:
            self._fd = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as e:
            raise MachineError(f"{device} cannot be opened: {e.strerror} (modprobe softdog, or its driver)") from e
        try:
            self.seconds = self._set(device, seconds)
        except (OSError, MachineError) as e:
            self.disarm()
            raise MachineError(str(e)) from e

    def _set(self, device: str, seconds: float) -> float:
        info = fcntl.ioctl(self._fd, GETSUPPORT, bytes(SIZE))
        options, _, identity = struct.unpack("II32s", info)
        name = identity.rstrip(b"\0").decode(errors="replace")
        if not options & MAGIC_CLOSE:
            raise MachineError(f"{device} ({name}) has no magic close: the end of the agent would disarm it")
        if not options & CAN_SET:
            raise MachineError(f"{device} ({name}) cannot be told a timeout")
        answered = fcntl.ioctl(self._fd, SETTIMEOUT, struct.pack("i", max(1, round(seconds))))
        self.pet()
        return float(struct.unpack("i", answered)[0])

    def pet(self) -> None:
        """Another `seconds`."""
        fcntl.ioctl(self._fd, KEEPALIVE, bytes(4))

    def disarm(self) -> None:
        """The magic character, then close."""
        os.write(self._fd, b"V")
        os.close(self._fd)


def cannot_be_stopped(device: str, there: Path = CLASS) -> bool:
    """As sysfs has it, before it is opened: opening it arms it. Some kernels are built so. Where sysfs does not
    say, False."""
    name = Path(device).name
    try:
        return (there / ("watchdog0" if name == "watchdog" else name) / "nowayout").read_text().strip() == "1"
    except OSError:
        return False
