"""Object paths of units, as `busctl tree org.freedesktop.systemd1` of systemd 252 has them."""

from __future__ import annotations

import pytest

from reconciler.linux.manager import object_path


@pytest.mark.parametrize(
    ("unit", "path"),
    [
        ("nfs-server.service", "nfs_2dserver_2eservice"),
        ("systemd-tmpfiles-setup.service", "systemd_2dtmpfiles_2dsetup_2eservice"),
        ("-.mount", "_2d_2emount"),
        ("getty@tty1.service", "getty_40tty1_2eservice"),
        (r"srv-a\x2db.mount", "srv_2da_5cx2db_2emount"),
        ("389-ds.service", "_3389_2dds_2eservice"),
    ],
)
def test_a_unit_has_the_path_that_systemd_gives_it(unit: str, path: str) -> None:
    assert object_path(unit) == f"/org/freedesktop/systemd1/unit/{path}"
