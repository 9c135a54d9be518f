"""Fencing: the power of a host is cut by its fence agent, one of ClusterLabs' fence-agents, run as they are.

Their protocol (fence-agents' FenceAgentAPI.md): options as `name=value` lines on stdin; `action=off` returns 0 once the
power is off, `action=status` 0 for on and 2 for off. The secret is a root-only file on the hosts with such lines
(`password=…`): it is never in etcd.
"""

from __future__ import annotations

from reconciler.secret import secret
from reconciler.spec import Fencing
from resources.machine import Machine, MachineError

SECRETS = "/etc/hactl/secrets"
CUTS = 60.0  # seconds an agent may take to cut the power
ANSWERS = 20.0  # seconds for its status
OFF = 2


async def cut_power(machine: Machine, host: str, fencing: Fencing) -> str:
    """Returns once the power is off and that was asked for anew, with the clause that says so. Raises MachineError."""
    options = _options(machine, host, fencing)
    done = await machine.run(fencing.agent, timeout=CUTS, stdin=f"action=off\n{options}")
    if done.status:
        raise MachineError(f"{fencing.agent} could not cut the power of {host}: {_said(done.err or done.out)}")
    status = await machine.run(fencing.agent, timeout=ANSWERS, stdin=f"action=status\n{options}")
    if status.status != OFF:
        raise MachineError(f"{fencing.agent} cut the power of {host}, but says that it is not off: {_said(status.err)}")
    return f"{fencing.agent} confirmed that its power is off"


async def answers(machine: Machine, host: str, fencing: Fencing) -> str:
    """Why the fence device of that host does not answer, or "". Nothing is done to it."""
    try:
        options = _options(machine, host, fencing)
        status = await machine.run(fencing.agent, timeout=ANSWERS, stdin=f"action=status\n{options}")
    except MachineError as e:
        return str(e)
    return "" if status.status in (0, OFF) else f"{fencing.agent}: {_said(status.err or status.out)}"


def _options(machine: Machine, host: str, fencing: Fencing) -> str:
    lines = [f"{name}={value}" for name, value in sorted(fencing.options.items())]
    if fencing.secret is not None:
        lines += secret(machine, f"{SECRETS}/{fencing.secret}", f"fencing {host}").splitlines()
    if bad := [line for line in lines if "\n" in line or line.startswith("action=")]:
        raise MachineError(f"an option of the fence agent of {host} is not allowed: {bad[0].partition('=')[0]}")
    return "".join(f"{line}\n" for line in lines if line)


def _said(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it gave no reason"
