"""crds-like-specs/ says what the models say."""

from __future__ import annotations

import json
from pathlib import Path

from reconciler import schemas
from resources.registry import KINDS


def test_none_is_stale() -> None:
    assert schemas.stale() == [], "run: make schemas"


def test_every_kind_has_its_words_in_the_schema_of_a_service() -> None:
    spec = json.loads(schemas.schemas()["service.json"])["$defs"]["ServiceSpec"]
    for kind in KINDS:
        assert set(kind.fields) <= set(spec["properties"])
    assert spec["additionalProperties"] is False


def test_what_is_stale_is_named_and_mended(tmp_path: Path) -> None:
    assert schemas.write(tmp_path) == ["host.json", "service.json"]
    (tmp_path / "host.json").write_text("{}")
    (tmp_path / "gone.json").write_text("{}")
    assert schemas.stale(tmp_path) == ["gone.json", "host.json"]
    schemas.write(tmp_path)
    assert schemas.stale(tmp_path) == []


def test_check_says_that_all_is_well() -> None:
    assert schemas.main(["--check"]) == 0
