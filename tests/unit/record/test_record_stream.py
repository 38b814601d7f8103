"""Stream records of both shapes as change records."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import dynalake
from dynalake.errors import RecordError
from dynalake.record.stream import encode_record, event_time, is_expiry

KEYS = {"id": {"S": "a"}}
OLD = {"id": {"S": "a"}, "data": {"B": "AP8="}, "old": {"BOOL": True}}
NEW = {"id": {"S": "a"}, "data": {"B": "AP8="}, "amount": {"N": "1.50"}}


def record(name: str, **images: Any) -> dict[str, Any]:
    change = {
        "ApproximateCreationDateTime": 1558742400.123,
        "Keys": KEYS,
        "SequenceNumber": "4421584500000000017450439091",
        "SizeBytes": 26,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
        **images,
    }
    return {"eventID": "1", "eventName": name, "dynamodb": change}


def test_insert_and_modify_carry_the_new_image() -> None:
    for name in ("INSERT", "MODIFY"):
        change = json.loads(encode_record(record(name, NewImage=NEW, OldImage=OLD)))
        assert change == {
            "__operation": name,
            "__sequence_number": "0000000000004421584500000000017450439091",
            "__event_time": 1558742400123,
            "id": "a",
            "__types": {"/data": "B"},
            "data": "AP8=",
            "amount": 1.5,
        }


def test_remove_carries_the_old_image_or_the_keys() -> None:
    assert json.loads(encode_record(record("REMOVE", OldImage=OLD)))["old"] is True
    keys_only = json.loads(encode_record(record("REMOVE")))
    assert {k: v for k, v in keys_only.items() if not k.startswith("__")} == {"id": "a"}


def test_both_shapes_give_the_same_line() -> None:
    event = record("MODIFY", NewImage=NEW)
    event["userIdentity"] = None
    moment = datetime.fromtimestamp(1558742400.123, UTC)
    read = record("MODIFY", NewImage={**NEW, "data": {"B": b"\x00\xff"}}, ApproximateCreationDateTime=moment)
    assert encode_record(event) == encode_record(read)


@pytest.mark.parametrize("names", [("type", "principalId"), ("Type", "PrincipalId")])
def test_removals_by_ttl_are_flagged(names: tuple[str, str]) -> None:
    kind, principal = names
    removed = record("REMOVE", OldImage=OLD)
    removed["userIdentity"] = {kind: "Service", principal: "dynamodb.amazonaws.com"}
    assert is_expiry(removed)
    assert json.loads(encode_record(removed))["__expired"] is True
    removed["userIdentity"] = {kind: "Service", principal: "somebody.amazonaws.com"}
    assert "__expired" not in json.loads(encode_record(removed))
    inserted = record("INSERT", NewImage=NEW) | {"userIdentity": {kind: "Service", principal: "dynamodb.amazonaws.com"}}
    assert "__expired" not in json.loads(encode_record(inserted))


@pytest.mark.parametrize(
    ("moment", "milliseconds"),
    [
        (1558742400, 1558742400000),
        (1558742400.0, 1558742400000),
        (1558742400.001, 1558742400001),
        (1558742400.9999, 1558742401000),
        (datetime(2019, 5, 25, tzinfo=UTC), 1558742400000),
    ],
)
def test_times_are_milliseconds(moment: Any, milliseconds: int) -> None:
    assert event_time(moment) == milliseconds


@pytest.mark.parametrize("moment", [None, "1558742400", True, -1, 1558742400123, float("nan"), datetime(2019, 5, 25)])  # noqa: DTZ001
def test_an_invalid_time_is_refused(moment: Any) -> None:
    with pytest.raises(RecordError, match="ApproximateCreationDateTime"):
        event_time(moment)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({}, "'dynamodb' is NoneType"),
        ("text", "'dynamodb'"),
        ({"dynamodb": []}, "'dynamodb' is list"),
        (record("INSERT"), "no NewImage"),
        (record("INSERT", NewImage="x"), "'NewImage' is str"),
        (record("UPSERT", NewImage=NEW), "eventName is 'UPSERT'"),
        (record("INSERT", NewImage=NEW, SequenceNumber=None), "sequence number"),
        (record("INSERT", NewImage={"a": {"Q": 1}}), "Attribute 'a'"),
        (record("REMOVE", Keys=None), "'Keys' is NoneType"),
    ],
)
def test_an_invalid_stream_record_is_refused(broken: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        encode_record(broken)


def test_an_error_names_the_record() -> None:
    with pytest.raises(RecordError) as caught:
        encode_record(record("INSERT"))
    assert caught.value.ids["sequence_number"] == "4421584500000000017450439091"


def test_the_package_imports_only_itself_and_the_errors(tmp_path: Path) -> None:
    root = Path(dynalake.__file__).parent
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in [root / "__init__.py", root / "errors.py", *sorted((root / "record").glob("*.py"))]:
            out.write(path, path.relative_to(root.parent))
    code = (
        "import dynalake.record.stream, dynalake.record.key, dynalake.record.item, sys; print('boto3' in sys.modules)"
    )
    # -S: no site-packages, so the standard library is all there is.
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path[:0] = [{str(archive)!r}]; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
