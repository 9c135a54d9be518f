"""Secrets: files that only root may read, never in etcd."""

from __future__ import annotations

from resources.machine import Machine, MachineError


def secret(machine: Machine, path: str, purpose: str) -> str:
    """The file's text. Raises MachineError where it is not there or may be read by others."""
    text = machine.read(path)
    if text is None:
        raise MachineError(f"the secret for {purpose} is missing on this host: {path}")
    if not machine.is_secret(path):
        raise MachineError(f"{path} may be read by others than root: chown root, chmod 600")
    return text
