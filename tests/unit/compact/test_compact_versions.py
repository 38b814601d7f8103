"""Which version of a day readers see, and which go: two runs at once, runs that ended half-way, forced runs."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynalake.catalog.partitions import list_partitions
from dynalake.catalog.views import read_watermark
from dynalake.clients import Clients
from dynalake.compact.manifest import ConvertedPartition
from dynalake.compact.plan import plan_table
from dynalake.compact.publish import finish_table, publish_table
from dynalake.compact.supersede import delete_superseded, list_notes
from dynalake.convert.options import CompactOptions
from dynalake.errors import AccessError, NotReadyError
from tests.unit.compact.lake import TestLake, noon
from tests.unit.compact.test_compact_flow import DAY, NEXT, A, B, rows

LATER = timedelta(hours=25)


def versions(lake: TestLake) -> set[str]:
    return {key.split("v=")[1].split("/")[0] for key in lake.objects(lake.names.parquet_prefix)}


def publish(lake: TestLake, *converted: ConvertedPartition) -> tuple[str, ...]:
    return publish_table(lake.clients, lake.names, converted, lake.options, NEXT).days


def clean_up(lake: TestLake, after: timedelta = LATER) -> tuple[str, ...]:
    return delete_superseded(lake.clients, lake.names, lake.options, datetime.now(UTC) + after)


def test_a_conversion_that_nobody_published_is_deleted_after_the_grace_period(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    lake.convert(NEXT)
    orphan = versions(lake)
    lake.put(DAY, "2.gz", lake.lines([B]))
    lake.run(NEXT)
    assert clean_up(lake, timedelta(hours=23)) == ()
    assert orphan < versions(lake)
    (deleted,) = clean_up(lake)
    assert orphan == {deleted.rstrip("/").rpartition("v=")[2]}
    assert len(rows(lake, DAY)) == 2
    assert list_notes(lake.clients, lake.names) == ()
    assert clean_up(lake) == ()


def test_a_conversion_killed_before_its_manifest_is_deleted_too(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    with monkeypatch.context() as killed:
        killed.setattr("dynalake.compact.convert.write_manifest", _kill)
        with pytest.raises(KeyboardInterrupt):
            lake.convert(NEXT)
    assert len(versions(lake)) == 1
    assert len(clean_up(lake)) == 1
    assert versions(lake) == set()
    assert lake.run(NEXT).through == DAY
    assert len(rows(lake, DAY)) == 1


def _kill(*_: Any) -> None:
    raise KeyboardInterrupt


def test_what_was_deleted_meanwhile_is_not_published(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    (converted,) = lake.convert(NEXT)
    assert len(clean_up(lake)) == 1
    with pytest.raises(NotReadyError, match=r"dt=20240101 is not there any more.*convert"):
        publish(lake, converted)
    assert list_partitions(lake.clients, lake.names, lake.names.typed_table) == {}
    (again,) = lake.convert(NEXT)
    assert not again.reused
    assert publish(lake, again) == (DAY,)


def test_a_conversion_that_is_taken_again_gets_a_new_grace_period(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    lake.convert(NEXT)
    (before,) = list_notes(lake.clients, lake.names)
    lake.clients.s3.delete_object(Bucket=lake.names.lake.bucket, Key=before.key)
    (again,) = lake.convert(NEXT)
    assert again.reused
    (note,) = list_notes(lake.clients, lake.names)
    assert note.version == before.version
    publish(lake, again)
    assert clean_up(lake) == ()
    assert versions(lake) == {note.version}


def test_a_deletion_that_s3_refuses_is_an_error_and_its_note_stays(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    lake.convert(NEXT)
    refused = {"Errors": [{"Key": "x", "Code": "AccessDenied", "Message": "object lock"}]}
    monkeypatch.setattr(lake.clients.s3, "delete_objects", lambda **_: refused)
    with pytest.raises(AccessError, match="S3 did not delete x: AccessDenied object lock"):
        clean_up(lake)
    assert len(list_notes(lake.clients, lake.names)) == 1


def test_a_forced_conversion_is_another_version_with_the_same_rows(lake: TestLake) -> None:
    """Somebody may be reading the files that are shown: they are never written over."""
    lake.put(DAY, "1.gz", lake.lines([A, B]))
    lake.run(NEXT)
    before, objects = rows(lake, DAY), lake.objects(lake.names.parquet_prefix)
    assert plan_table(lake.clients, lake.names, lake.options, NEXT, [DAY]) == ()
    assert lake.run(NEXT, [DAY], force="scheduled__1").days == (DAY,)
    assert rows(lake, DAY) == before
    assert len(versions(lake)) == 2
    assert objects.items() < lake.objects(lake.names.parquet_prefix).items()
    after = lake.objects()
    assert lake.run(NEXT, [DAY], force="scheduled__1").days == ()
    assert lake.objects(lake.names.parquet_prefix) == {k: v for k, v in after.items() if "/parquet/" in k}


def test_another_format_or_codec_for_named_days_stays(lake: TestLake) -> None:
    lake.put(DAY, "1.gz", lake.lines([A]))
    lake.run(NEXT)
    lake.options = CompactOptions(codec="snappy", part_mb=64)
    assert lake.run(NEXT).days == ()
    assert lake.run(NEXT, [DAY]).days == (DAY,)
    assert lake.run(NEXT, [DAY]).days == ()
    lake.options = CompactOptions()
    assert lake.run(NEXT).days == ()


def test_an_old_conversion_of_a_day_far_back_does_not_replace_a_newer_one(lake: TestLake) -> None:
    """A task of an old run that is cleared and runs again has the old conversions to publish."""
    lake.put(DAY, "1.gz", lake.lines([A]))
    (old,) = lake.convert(NEXT)
    lake.put(DAY, "2.gz", lake.lines([B]))
    lake.run(NEXT)
    lake.put("20240301", "1.gz", lake.lines([A]))
    lake.run(noon("20240302"))
    lake.put(DAY, "3.gz", lake.lines([{**A, "x": {"S": "x"}}]))
    published = publish_table(lake.clients, lake.names, [old], lake.options, noon("20240302"))
    assert (published.days, published.skipped) == ((), (DAY,))
    assert len(rows(lake, DAY)) == 2


def test_two_runs_that_publish_at_once_lose_nothing(lake: TestLake) -> None:
    """Each brings a day, and types that the other does not know."""
    lake.put(DAY, "1.gz", lake.lines([{**A, "r": {"N": "1"}}]))
    lake.run(NEXT)
    days = ["20240102", "20240103"]
    lake.put(days[0], "1.gz", lake.lines([{**A, "r": {"S": "x"}}]))
    lake.put(days[1], "1.gz", lake.lines([{**A, "r": {"BOOL": True}, "m": {"M": {"k": {"N": "1"}}}}]))
    now = noon("20240104")
    failed: list[BaseException] = []

    def run(day: str) -> None:
        clients = Clients(lambda service: getattr(lake.clients, service))
        mine = TestLake(clients, lake.names)
        try:
            # Another run's types may come between converting and publishing: what does not fit is converted again.
            finish_table(clients, lake.names, mine.convert(now, [day]), lake.options, now)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(day,)) for day in days]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    lake.run(now)
    assert read_watermark(lake.clients, lake.names).through == days[-1]
    assert [rows(lake, day)[0]["r"] for day in (DAY, *days)] == ["1", '"x"', "true"]
