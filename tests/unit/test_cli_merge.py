"""The three-way merge, and differences in words."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.cli.merge import differences, merge, plain
from reconciler.spec import validate

FILE = {"primary": "hosta", "deadline": 120}


@pytest.mark.parametrize(
    ("what", "base", "file", "stands", "merged"),
    [
        ("new", None, FILE, None, FILE),
        ("the same again", FILE, FILE, FILE, FILE),
        ("a set survives", FILE, FILE, {**FILE, "primary": "hostb"}, {**FILE, "primary": "hostb"}),
        (
            "a set survives an unrelated edit",
            FILE,
            {**FILE, "deadline": 90},
            {**FILE, "primary": "hostb"},
            {"primary": "hostb", "deadline": 90},
        ),
        ("an edit wins over a set", FILE, {**FILE, "deadline": 90}, {**FILE, "deadline": 30}, {**FILE, "deadline": 90}),
        ("what the file no longer says goes", FILE, {"primary": "hosta"}, FILE, {"primary": "hosta"}),
        ("what it never said stays", FILE, FILE, {**FILE, "failover": "automatic"}, {**FILE, "failover": "automatic"}),
        ("what was set to its default stays away", FILE, FILE, {"primary": "hosta"}, {"primary": "hosta"}),
        ("never applied: the file wins", None, FILE, {"primary": "hostb", "x": 1}, {**FILE, "x": 1}),
        ("a list is one value", {"u": [1]}, {"u": [1, 2]}, {"u": [3]}, {"u": [1, 2]}),
        (
            "mappings by key",
            {"c": {"a": 1, "b": 1}},
            {"c": {"a": 1, "b": 2}},
            {"c": {"a": 9, "b": 1}},
            {"c": {"a": 9, "b": 2}},
        ),
        ("a mapping where a word stood", {"c": 1}, {"c": {"a": 1}}, {"c": 1}, {"c": {"a": 1}}),
        ("a mapping that is gone from etcd", {"c": {"a": 1}}, {"c": {"a": 2, "b": 1}}, {}, {"c": {"a": 2, "b": 1}}),
    ],
)
def test_merge(what: str, base: Any, file: Any, stands: Any, merged: Any) -> None:
    assert merge(base, file, stands) == merged


def test_differences_read_as_words() -> None:
    before = {"primary": "hosta", "disks": [{"resource": "a"}], "container": {"domain": "x"}, "hosts": ["a"], "old": 1}
    after = {
        "primary": "hostb",
        "disks": [{"resource": "b"}],
        "container": {"domain": "y"},
        "hosts": ["a", "b"],
        "n": 2,
    }
    assert differences(before, after) == [
        "primary hosta -> hostb",
        "disks changed",
        "container.domain x -> y",
        "hosts [a] -> [a, b]",
        "n default -> 2",
        "old 1 -> default",
    ]


def test_plain_keeps_what_was_said_and_no_defaults() -> None:
    document = {
        "apiVersion": "hactl/v1",
        "kind": "Service",
        "metadata": {"name": "nfs"},
        "spec": {"hosts": ["hosta"], "deadline": 90, "disks": [{"resource": "d", "mount": "/srv//data/"}]},
    }
    said = plain(validate(document))
    assert said["spec"] == {"hosts": ["hosta"], "deadline": 90, "disks": [{"resource": "d", "mount": "/srv/data"}]}
    assert isinstance(said["spec"]["deadline"], int)
    assert said["metadata"] == {"name": "nfs"}
