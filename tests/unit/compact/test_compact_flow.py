"""Whole runs over a lake in moto: what lands, what is published, what a retry and a kill leave."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from dynalake.catalog.discover import observe_new_attributes
from dynalake.catalog.partitions import list_partitions, point_snapshot, register_days, snapshot_location
from dynalake.catalog.register import register_table
from dynalake.catalog.tables import read_schema, read_table
from dynalake.catalog.views import Watermark, read_hold, read_watermark
from dynalake.clients import Clients
from dynalake.compact.convert import compact_day
from dynalake.compact.manifest import ConvertedPartition, read_manifest
from dynalake.compact.plan import plan_table
from dynalake.compact.publish import publish_table
from dynalake.compact.supersede import delete_superseded
from dynalake.convert.options import CompactOptions
from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import CatalogError, ConflictError, NameTakenError, QuarantineError
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from tests.unit.compact.lake import KEY, TestLake, noon

A = {"id": {"S": "a"}, "n": {"N": "1"}}
B = {"id": {"S": "b"}, "n": {"N": "2"}}
DAY = "20240101"
NEXT = noon("20240102")
CANARY = '{"__operation":"CANARY","__sequence_number":"' + "0" * 40 + '","__event_time":1,"__canary_id":"x"}'


def state(lake: TestLake) -> tuple[Any, ...]:
    """All that a run may change."""
    glue = {
        name: found and found.version
        for name in ("receipts_v1_json", "receipts_v1_parquet", "receipts_v1", "receipts_v1_current")
        for found in [read_table(lake.clients, "dynalake_dev", name)]
    }
    partitions = list_partitions(lake.clients, lake.names, "receipts_v1_parquet")
    return lake.objects(), glue, partitions


def rows(lake: TestLake, day: str) -> list[dict[str, Any]]:
    return pa.concat_tables(lake.published(day)).to_pylist()


def test_a_run_deduplicates_sorts_counts_and_publishes(lake: TestLake) -> None:
    first = lake.lines([B, A, {**A, "x": {"N": "7"}}])
    lake.put(DAY, "1.gz", [*first, CANARY])
    lake.put(DAY, "2.gz", first[:2])
    (converted,) = lake.convert(NEXT)
    assert (converted.lines, converted.rows, converted.duplicates, converted.canaries) == (6, 3, 2, 1)
    published = publish_table(lake.clients, lake.names, [converted], lake.options, NEXT)
    assert (published.days, published.through, published.added) == ((DAY,), DAY, ("x",))
    assert [(r["id"], r["__sequence_number"][-1], r["x"]) for r in rows(lake, DAY)] == [
        ("a", "2", None),
        ("a", "3", 7),
        ("b", "1", None),
    ]
    assert ConvertedPartition.from_dict(json.loads(json.dumps(converted.to_dict()))) == converted
    assert read_manifest(lake.clients, lake.names, converted.manifest).rows == 3


def test_again_changes_nothing(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([A, B]))
    lake.run(NEXT)
    before = state(lake)
    assert not lake.run(NEXT).changed
    (plan,) = [compact_day(lake.clients, lake.names, DAY, lake.options)]
    assert plan.reused
    register_table(lake.clients, lake.names, KEY, source_arn="arn:aws:dynamodb:us-east-1:123456789012:table/RECEIPTS")
    register_days(lake.clients, lake.names, [DAY])
    assert observe_new_attributes(lake.clients, lake.names, [DAY]) == ()
    assert state(lake) == before


def test_a_retry_writes_the_same_bytes(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([A, B]))
    first = compact_day(lake.clients, lake.names, DAY, lake.options)
    before = lake.objects("dynamodb/parquet/")
    lake.clients.s3.delete_object(Bucket=lake.names.lake.bucket, Key=first.manifest)
    second = compact_day(lake.clients, lake.names, DAY, lake.options)
    assert not second.reused
    assert second == first
    assert lake.objects("dynamodb/parquet/") == before


def test_spilling_gives_the_same_file_and_leaves_no_trace(lake: TestLake, tmp_path: Path) -> None:
    items = [{"id": {"S": f"{i % 97}"}, "n": {"N": str(i)}, "text": {"S": "x" * 3000}} for i in range(2000)]
    lake.put(DAY, "1.gz", lake.lines(items))
    whole = compact_day(lake.clients, lake.names, DAY, lake.options)
    before = lake.objects("dynamodb/parquet/")
    lake.clients.s3.delete_object(Bucket=lake.names.lake.bucket, Key=whole.manifest)
    spilled = compact_day(lake.clients, lake.names, DAY, CompactOptions(memory_mb=1), work_directory=tmp_path)
    assert spilled == whole
    assert lake.objects("dynamodb/parquet/") == before
    assert list(tmp_path.iterdir()) == []


def test_parts_have_a_size_and_key_ranges_of_their_own(lake: TestLake) -> None:
    import random

    noise = random.Random(1)
    items = [{"id": {"S": f"{i:06d}"}, "n": {"N": "1"}, "t": {"S": noise.randbytes(3000).hex()}} for i in range(1500)]
    lake.put(DAY, "1.gz", lake.lines(items))
    lake.options = CompactOptions(part_mb=1, row_group_mb=1)
    lake.run(NEXT)
    parts = [part["id"].to_pylist() for part in lake.published(DAY)]
    assert len(parts) > 2
    keys: list[Any] = [key for part in parts for key in part]
    assert keys == sorted(keys)


def test_late_objects_are_picked_up(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    lake.run(NEXT)
    lake.put(DAY, "2.gz", lake.lines([B]))
    assert lake.run(NEXT).days == (DAY,)
    assert len(rows(lake, DAY)) == 2


def test_a_superseded_version_stays_for_the_grace_period_however_old_it_is(lake: TestLake) -> None:
    """The files are as old as the day, but a query that began before the move still reads them."""
    lake.put(DAY, "1.gz", lake.lines([A]))
    lake.run(NEXT)
    first = {key for key in lake.objects() if "/v=" in key}
    lake.put(DAY, "2.gz", lake.lines([B]))
    lake.run(NEXT)
    moved = datetime.now(UTC)
    assert delete_superseded(lake.clients, lake.names, lake.options, moved + timedelta(hours=23)) == ()
    assert first <= set(lake.objects())
    (deleted,) = delete_superseded(lake.clients, lake.names, lake.options, moved + timedelta(hours=25))
    assert all(key.startswith(deleted) for key in first)
    assert not first & set(lake.objects())
    assert len(rows(lake, DAY)) == 2
    assert delete_superseded(lake.clients, lake.names, lake.options, moved + timedelta(days=99)) == ()
    assert len(rows(lake, DAY)) == 2


def test_an_open_day_is_converted_on_request_and_still_read_from_json(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    assert plan_table(lake.clients, lake.names, lake.options, noon(DAY)) == ()
    published = lake.run(noon(DAY), [DAY])
    assert (published.days, published.through) == ((DAY,), "")
    assert len(rows(lake, DAY)) == 1
    assert lake.run(NEXT).through == DAY


def test_the_snapshot_is_what_its_partition_points_to(lake: TestLake) -> None:
    snapshot = [{**A, "v": {"N": "1"}}]
    lake.put("00000000", "1.gz", lake.lines(snapshot, "SNAPSHOT"), run="one")
    lake.put("00000000", "1.gz", lake.lines([{**A, "v": {"N": "2"}}, B], "SNAPSHOT"), run="two")
    assert plan_table(lake.clients, lake.names, lake.options, NEXT) == ()
    assert snapshot_location(lake.clients, lake.names) is None
    assert point_snapshot(lake.clients, lake.names, lake.names.snapshot_run("one")) is None
    assert observe_new_attributes(lake.clients, lake.names, ["00000000"]) == ("v",)
    assert lake.run(NEXT).snapshot
    assert [r["v"] for r in rows(lake, "00000000")] == [1]
    before = point_snapshot(lake.clients, lake.names, lake.names.snapshot_run("two"))
    assert before == lake.names.uri(lake.names.snapshot_run("one"))
    assert snapshot_location(lake.clients, lake.names) == lake.names.uri(lake.names.snapshot_run("two"))
    assert lake.run(NEXT).days == ("00000000",)
    assert [r["v"] for r in rows(lake, "00000000")] == [2, None]
    assert read_watermark(lake.clients, lake.names) == Watermark("", True)


def test_a_snapshot_without_items_takes_the_place_of_one_that_had_some(lake: TestLake) -> None:
    """Also where the old one cannot be read under a wider type: there must be something to convert it to."""
    clients, names = lake.clients, lake.names
    lake.put(SNAPSHOT_DAY, "1.gz", lake.lines([{**A, "v": {"N": "1"}}], "SNAPSHOT"), run="first")
    point_snapshot(clients, names, names.snapshot_run("first"))
    lake.put(DAY, "1.gz", lake.lines([A]))
    lake.run(NEXT)
    assert len(rows(lake, SNAPSHOT_DAY)) == 1
    point_snapshot(clients, names, names.snapshot_run("second"))
    lake.put("20240102", "1.gz", lake.lines([{**B, "v": {"S": "x"}}]))
    assert set(lake.run(noon("20240103")).days) == {SNAPSHOT_DAY, "20240102"}
    assert rows(lake, SNAPSHOT_DAY) == []
    assert read_watermark(clients, names) == Watermark("20240102", True)
    assert not lake.run(noon("20240103")).changed


def test_what_is_no_record_goes_to_quarantine_and_the_rest_goes_on(lake: TestLake) -> None:
    good = lake.lines([A, B])
    lake.put(DAY, "1.gz", [good[0], "no json", '{"__operation":"INSERT"}', "[]"])
    whole = gzip.compress(("\n".join(lake.lines([A] * 200))).encode())
    lake.put(DAY, "2.gz", whole[:-30])
    lake.put(DAY, "3.gz", f"{good[1]}\n".encode())
    (c,) = lake.convert(NEXT)
    assert c.quarantined == 4
    assert c.lines == c.rows + c.duplicates + c.quarantined
    (key,) = lake.objects("dynamodb-errors/compact/RECEIPTS/dt=20240101/")
    entries = [json.loads(line) for line in lake.body(key).splitlines()]
    assert [(e["object"][-4:], e["line"]) for e in entries[:3]] == [("1.gz", 2), ("1.gz", 3), ("1.gz", 4)]
    assert "cut short" in entries[3]["reason"]


def test_too_much_in_quarantine_publishes_nothing(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", [*lake.lines([A]), *["broken"] * 5])
    with pytest.raises(QuarantineError, match="More than 2 lines"):
        compact_day(lake.clients, lake.names, DAY, CompactOptions(max_quarantined=2))
    assert lake.objects("dynamodb/parquet/") == {}
    assert len(lake.objects("dynamodb-errors/")) == 1


def test_a_day_with_nothing_but_canaries_is_an_empty_partition(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", [CANARY])
    assert lake.run(NEXT).through == DAY
    assert rows(lake, DAY) == []


def test_types_that_change_from_day_to_day_stay_one_table(lake: TestLake) -> None:
    ratings = [{"N": "1"}, {"N": "1.5"}, {"S": "n/a"}, {"L": [{"N": "1"}]}, {"NULL": True}]
    days = [f"2024010{i}" for i in range(1, 6)]
    for day, rating in zip(days, ratings, strict=True):
        lake.put(day, "1.gz", lake.lines([{**A, "rating": rating}]))
        published = lake.run(noon(day) + timedelta(days=1))
        assert published.through == day
    assert [rows(lake, d)[0].get("rating") for d in days] == ["1", "1.5", '"n/a"', "[1]", None]
    schema = read_schema(lake.clients, lake.names)
    for partition in list_partitions(lake.clients, lake.names, "receipts_v1_parquet").values():
        files = read_manifest(lake.clients, lake.names, partition.parameters["dynalake.manifest"]).schema
        assert schema.unreadable(files) == ()


def test_while_older_days_cannot_be_read_under_new_types_nothing_is_published(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([{**A, "rating": {"N": "1"}}]))
    lake.run(NEXT)
    lake.put("20240102", "1.gz", lake.lines([{**A, "rating": {"S": "x"}}]))
    now = noon("20240103")
    converted = compact_day(lake.clients, lake.names, "20240102", lake.options)
    before = state(lake)[1:]
    assert publish_table(lake.clients, lake.names, [converted], lake.options, now).reconvert == (DAY,)
    assert state(lake)[1:] == before
    again = compact_day(lake.clients, lake.names, DAY, lake.options, [converted.manifest])
    published = publish_table(lake.clients, lake.names, [converted, again], lake.options, now)
    assert (published.days, published.widened) == ((DAY, "20240102"), ("rating",))


class Killed(Exception):
    pass


def killing(clients: Clients, after: int) -> tuple[Clients, list[str]]:
    """Clients whose writing calls to Glue and S3 end the process after `after` of them."""
    calls: list[str] = []

    class Proxy:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            method = getattr(self._client, name)
            if not name.startswith(("put", "upload", "create", "update", "batch", "delete")):
                return method

            def call(*args: Any, **kwargs: Any) -> Any:
                if len(calls) >= after:
                    raise Killed(name)
                calls.append(name)
                return method(*args, **kwargs)

            return call

    return Clients(lambda service: Proxy(getattr(clients, service))), calls


def test_killed_between_any_two_steps_the_next_run_gives_the_same_lake(lake: TestLake) -> None:
    clients, now = lake.clients, noon("20240103")
    finished = False
    for after in range(40):
        one = TestLake(clients, lake.names.lake.table(f"T{after:02d}"))
        register_table(clients, one.names, KEY, source_arn="arn")
        one.put(DAY, "1.gz", one.lines([{**A, "rating": {"N": "1"}}]))
        one.run(NEXT)
        one.put("20240102", "1.gz", one.lines([{**A, "rating": {"S": "x"}, "new": {"BOOL": True}}]))
        one.clients, _ = killing(clients, after)
        try:
            one.run(now)
            finished = True
        except Killed:
            one.clients = clients
            one.end_lease()
            check_readable(one)
            one.run(now)
        one.clients = clients
        check_readable(one)
        assert read_hold(clients, one.names) is None
        assert read_watermark(clients, one.names) == Watermark("20240102")
        assert [rows(one, d)[0]["rating"] for d in (DAY, "20240102")] == ["1", '"x"']
        assert not one.run(now).changed
        if finished:
            break
    assert finished
    assert after > 8


def check_readable(lake: TestLake) -> None:
    """Every day that the views read from Parquet is published, with files that the table's types can read."""
    schema = read_schema(lake.clients, lake.names)
    mark = read_watermark(lake.clients, lake.names)
    partitions = list_partitions(lake.clients, lake.names, lake.names.typed_table)
    for day in (DAY, "20240102"):
        if mark.covers(day):
            manifest = partitions[day].parameters["dynalake.manifest"]
            assert schema.unreadable(read_manifest(lake.clients, lake.names, manifest).schema) == ()


def test_a_stale_conversion_does_not_replace_a_newer_one(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    old = compact_day(lake.clients, lake.names, DAY, lake.options)
    lake.put(DAY, "2.gz", lake.lines([B]))
    lake.run(NEXT)
    assert publish_table(lake.clients, lake.names, [old], lake.options, NEXT).skipped == (DAY,)
    assert len(rows(lake, DAY)) == 2


def test_an_object_replaced_meanwhile_is_a_conflict(lake: TestLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))

    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "PreconditionFailed", "Message": ""}}, "GetObject")

    schema = read_schema(lake.clients, lake.names)
    monkeypatch.setattr("dynalake.compact.convert.read_schema", lambda *_: schema)
    monkeypatch.setattr(lake.clients.s3, "get_object", refuse)
    with pytest.raises(ConflictError):
        compact_day(lake.clients, lake.names, DAY, lake.options)


def test_orc_is_a_second_format(lake: TestLake) -> None:
    from pyarrow import orc

    lake.put(DAY, "1.gz", lake.lines([{**A, "m": {"M": {"x": {"N": "1.5"}}}, "d": {"N": "1" * 30}}]))
    lake.options = CompactOptions(format="orc")
    lake.run(NEXT)
    (key,) = [k for k in lake.objects("dynamodb/parquet/") if k.endswith(".orc")]
    (row,) = orc.ORCFile(pa.BufferReader(lake.body(key))).read().to_pylist()
    assert (row["id"], row["m"], str(row["d"])) == ("a", {"x": 1.5}, "1" * 30)


def test_a_name_taken_by_another_table_is_refused(lake: TestLake) -> None:
    other = Lake("dev", "123456789012", "us-east-1").table("Receipts")
    with pytest.raises(NameTakenError, match=r"Receipts needs .* the DynamoDB table RECEIPTS"):
        register_table(lake.clients, other, KEY, source_arn="arn")
    changed = ItemKey(KeyAttribute("id", "S"))
    with pytest.raises(CatalogError, match="registered with the key"):
        register_table(lake.clients, lake.names, changed, source_arn="arn")
    missing = Lake("prod", "123456789012", "us-east-1").table("RECEIPTS")
    with pytest.raises(CatalogError, match="no Glue database"):
        register_table(lake.clients, missing, KEY, source_arn="arn")
    with pytest.raises(CatalogError, match="dynalake_setup"):
        read_schema(lake.clients, missing)
