"""YAML that is wrong is named: file, line, field, fix."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from reconciler.cli import manifests
from reconciler.cli.errors import Refused

GOOD = """\
# a comment
apiVersion: hactl/v1
kind: Service
metadata: {name: nfs}
spec:
  hosts: [hosta, hostb]
  deadline: 90
  disks:
    - {resource: nfs-home, mount: /export/home}
    - resource: nfs-state
      mount: /var/lib/nfs
"""


def problems(text: str) -> list[str]:
    return [str(problem) for problem in manifests.parse(text, "nfs.yaml")[1]]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("deadline: 90", "dedline: 90", "nfs.yaml:7: spec.dedline: there is no such field; did you mean deadline?"),
        ("/var/lib/nfs", "/var/../etc", "nfs.yaml:11: spec.disks[1].mount: '/var/../etc' has a '..' in it"),
        ("name: nfs", "name: a/b", "nfs.yaml:4: metadata.name: 'a/b' is not a name"),
        ("kind: Service", "kind: Sevice", "nfs.yaml:3: kind: is 'Sevice'; there are: Service, Host"),
        ("deadline: 90", "deadline: soon", "nfs.yaml:7: spec.deadline: "),
        ("deadline: 90", "deadline: 90\n  deadline: 80", "nfs.yaml:8: spec.deadline: is written twice"),
        ("hosts: [hosta, hostb]", "hosts: []", "nfs.yaml:6: spec.hosts: "),
        ("hosts: [hosta, hostb]", "hosts: [", "nfs.yaml:8: is not YAML: "),
        ("hosts: [hosta, hostb]", "mode: exclusive", "nfs.yaml:5: spec.hosts: is missing"),
        ("{name: nfs}", "{name: nfs, deleted: {at: x, by: y}}", "nfs.yaml:4: metadata.deleted: is written by"),
        ("hosts: [hosta, hostb]", "hosts: &x [*x]", "nfs.yaml: is nested too deep"),
        ("hosts: [hosta, hostb]", "hosts: !!python/object:os.system [x]", "nfs.yaml:6: is not YAML: "),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str) -> None:
    assert old in GOOD
    (found,) = problems(GOOD.replace(old, new))
    assert found.startswith(said)
    assert "\n" not in found


@pytest.mark.parametrize("text", ["[]", "- a", "7", "nfs", "{}"])
def test_what_is_no_manifest_at_all(text: str) -> None:
    (found,) = problems(text)
    assert found.startswith("nfs.yaml:1: ")


def test_several_documents_and_their_lines() -> None:
    text = f"{GOOD}---\n---\napiVersion: hactl/v1\nkind: Host\nmetadata: {{name: hosta}}\nspec: {{adresses: []}}\n"
    loaded, wrong = manifests.parse(text, "all.yaml")
    assert [str(one) for one in loaded] == ["service/nfs"]
    assert [str(one) for one in wrong] == [
        "all.yaml:17: spec.adresses: there is no such field; did you mean addresses?"
    ]


def test_every_problem_is_said() -> None:
    assert len(problems(GOOD.replace("deadline: 90", "dedline: 90").replace("mount:", "mont:"))) == 3


def test_a_directory_gives_its_yaml_files_hosts_first(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yml").write_text("apiVersion: hactl/v1\nkind: Host\nmetadata: {name: hosta}\n")
    (tmp_path / ".c.yaml.swp").write_text("{")
    (tmp_path / ".hidden.yaml").write_text("{")
    (tmp_path / "README").write_text("{")
    loaded, wrong = manifests.load([tmp_path])
    assert wrong == []
    assert [str(one) for one in loaded] == ["host/hosta", "service/nfs"]


def test_the_same_thing_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(GOOD)
    (problem,) = manifests.load([tmp_path])[1]
    assert str(problem) == f"{tmp_path}/b.yaml:2: service/nfs is also in {tmp_path}/a.yaml:2"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    found = [str(one) for one in manifests.load([tmp_path, tmp_path / "none.yaml"])[1]]
    assert found == [
        f"{tmp_path}/empty.yaml: has no manifest in it",
        f"{tmp_path}/latin.yaml: is not UTF-8 text",
        f"{tmp_path}/none.yaml: there is no such file",
    ]


def test_what_is_piped_in_is_called_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("spec: ["))
    (problem,) = manifests.load([Path("-")])[1]
    assert str(problem).startswith("standard input:")


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has no file"):
        manifests.load([tmp_path])
