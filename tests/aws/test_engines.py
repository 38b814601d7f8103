"""Both engines give the same rows, types, counts and quarantine; Spark runs on this machine, on local AWS."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dynalake.catalog.register import register_table
from dynalake.compact.convert import compact_day
from dynalake.compact.manifest import ConvertedPartition, Manifest, read_manifest
from dynalake.compact.plan import list_day
from dynalake.compact.publish import publish_table
from hypothesis import given, settings
from pyspark.sql import SparkSession
from tests.unit.compact.lake import KEY, TestLake, noon

from dynalake.clients import Clients
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.raw import RawObject
from dynalake.errors import QuarantineError, SettingsError
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from dynalake.spark.convert import convert_day
from dynalake.spark.package import build_spark_package
from infra.local.process import LocalAws
from tests.conftest import need
from tests.unit.record.strategies import STORABLE

DAY, OTHER = "20240101", "20240102"
LAKE = Lake("engines", "000000000000", "us-east-1")
CANARY = '{"__operation":"CANARY","__sequence_number":"' + "0" * 40 + '","__event_time":1,"__canary_id":"x"}'
_numbers = count()

Convert = Callable[..., ConvertedPartition]


@pytest.fixture(scope="module")
def spark(local_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A session whose Python workers import the package as AWS Glue's do: from the archive alone."""
    need("java")
    scratch = tmp_path_factory.mktemp("spark")
    package = scratch / "dynalake.zip"
    package.write_bytes(build_spark_package(LAKE).body)
    # The JVM, and through it every worker, has this process's environment.
    with pytest.MonkeyPatch.context() as patch:
        here = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        # What numba compiles of an archive would stay behind in the user's cache.
        for name, value in {**local_aws.env(), **here, "XDG_CACHE_HOME": str(scratch)}.items():
            patch.setenv(name, value)
        patch.delenv("PYTHONPATH", raising=False)
        session = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.local.dir", str(scratch))
            .config("spark.driver.memory", "1g")
            .getOrCreate()
        )
    session.sparkContext.setLogLevel("ERROR")
    session.sparkContext.addPyFile(str(package))
    yield session
    session.stop()


@pytest.fixture
def engines(clients: Clients, spark: SparkSession, local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Engines:
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    return Engines(clients, spark)


class Engines:
    """Converts one partition with each engine, and compares all that they give."""

    def __init__(self, clients: Clients, spark: SparkSession) -> None:
        self.clients = clients
        self.spark = spark
        self.make_clients = partial(Clients.in_region, LAKE.region)
        if LAKE.bucket not in [b["Name"] for b in clients.s3.list_buckets()["Buckets"]]:
            clients.s3.create_bucket(Bucket=LAKE.bucket)
            clients.glue.create_database(DatabaseInput={"Name": LAKE.database})

    def lake(self, key: ItemKey = KEY) -> TestLake:
        names = LAKE.table(f"Items{next(_numbers)}")
        register_table(self.clients, names, key, source_arn="arn")
        return TestLake(self.clients, names)

    def arrow(self, lake: TestLake, day: str, **more: Any) -> ConvertedPartition:
        return compact_day(self.clients, lake.names, day, lake.options, **more)

    def on_spark(self, lake: TestLake, day: str, **more: Any) -> ConvertedPartition:
        """By the compiled reader, which has to give what `arrow` reads record by record."""
        options = replace(lake.options, compiled_from_mb=0)
        return convert_day(self.spark, self.make_clients, lake.names, day, options, **more)

    def compare(self, lake: TestLake, day: str = DAY, **more: Any) -> Manifest:
        """Convert with both; they must agree. Returns Spark's manifest, which is the one that stays."""
        by_arrow = read_manifest(self.clients, lake.names, self.arrow(lake, day, **more).manifest)
        rejected = self.quarantine(lake, by_arrow)
        self.clients.s3.delete_object(Bucket=LAKE.bucket, Key=by_arrow.key(lake.names))
        by_spark = read_manifest(self.clients, lake.names, self.on_spark(lake, day, **more).manifest)
        assert by_spark.version != by_arrow.version
        assert replace(by_spark, version="", parts=()) == replace(by_arrow, version="", parts=())
        assert self.quarantine(lake, by_spark) == rejected
        mine, theirs = self.rows(lake, by_spark), self.rows(lake, by_arrow)
        assert mine.schema == theirs.schema
        assert mine.equals(theirs)
        return by_spark

    def rows(self, lake: TestLake, manifest: Manifest) -> pa.Table:
        """What a reader finds under the version's prefix, in the order of the parts."""
        prefix = lake.names.parquet_version(manifest.day, manifest.version)
        return pa.concat_tables(pq.read_table(io.BytesIO(lake.body(key))) for key in sorted(lake.objects(prefix)))

    def quarantine(self, lake: TestLake, manifest: Manifest) -> bytes:
        return lake.body(manifest.quarantine) if manifest.quarantine else b""


def generated(number: int, seed: int) -> list[dict[str, Any]]:
    """Items of every kind that DynamoDB stores, the same in every run."""
    items: list[dict[str, Any]] = []

    @settings(max_examples=number, derandomize=True, database=None)
    @given(STORABLE)
    def collect(item: dict[str, Any]) -> None:
        items.append(item)

    collect()
    Random(seed).shuffle(items)
    return items


def test_any_items_give_the_same_rows_and_types(engines: Engines) -> None:
    """A day for each handful of them, so that types are not all mixed; and one for all of them."""
    lake = engines.lake()
    lake.options = CompactOptions(max_struct_fields=3)
    items = [{**item, "id": {"S": f"{n % 7}"}, "n": {"N": f"{n}"}} for n, item in enumerate(generated(100, 1))]
    days = {"20240103": items[:3], "20240104": items[3:15], "20240105": items}
    for day, some in days.items():
        lines = lake.lines(some)
        lake.put(day, "1.gz", lines[::2])
        lake.put(day, "2.gz", [*lines[1::2], *lines[:2]])
        assert engines.compare(lake, day).rows == len(some)


NUMERALS = [
    "1",
    "1.0",
    "-0",
    "0.1",
    "9007199254740993",
    "1e2",
    "1" * 38,
    "-1E+20",
    "0.1234567890123456789012345678",
    "2",
]


def test_numbers_duplicates_and_names_that_collide(engines: Engines) -> None:
    lake = engines.lake(ItemKey(KeyAttribute("n", "N"), KeyAttribute("b", "B")))
    images = [
        {
            "n": {"N": one},
            "b": {"B": "YQ=="},
            "v": {"N": one},
            "Id": {"N": one},
            "ID": {"S": "x"},
            "m": {"M": {f"k{i}": {"N": one}}},
        }
        for i, one in enumerate(NUMERALS)
    ]
    lines = lake.lines(images)
    # One key and sequence number with other content: the last in a fixed order stays, wherever it was read.
    same = [line.replace('"__event_time":4000000000000', '"__event_time":4000000000001') for line in lines[:4]]
    lake.put(DAY, "1.gz", [*lines, *same, CANARY])
    lake.put(DAY, "2.gz", [*reversed(lines), lines[0].replace('"v":1', '"v":1.0'), CANARY])
    manifest = engines.compare(lake)
    assert (manifest.rows, manifest.canaries) == (len(NUMERALS), 2)
    assert manifest.duplicates == len(lines) + len(same) + 1


def test_repeats_of_an_earlier_day(engines: Engines) -> None:
    lake = engines.lake(ItemKey(KeyAttribute("n", "N"), KeyAttribute("b", "B")))
    images = [{"n": {"N": number}, "b": {"B": b"x"}} for number in ("1", "-2", "3", "4", "5", "0.5")]
    lines = lake.lines(images, made=round(noon(DAY).timestamp() * 1000))
    lake.put(DAY, "1.gz", lines[:4])
    lake.run(noon(OTHER))
    lake.put(OTHER, "1.gz", lines[2:])
    manifest = engines.compare(lake, OTHER)
    assert (manifest.rows, manifest.repeats, manifest.since) == (2, 2, DAY)
    lake.put(DAY, "late.gz", lines[4:5])
    beside = engines.arrow(lake, DAY).manifest
    manifest = engines.compare(lake, OTHER, beside=[beside])
    assert (manifest.rows, manifest.repeats) == (1, 3)


def test_wide_maps_and_other_options(engines: Engines) -> None:
    lake = engines.lake()
    lake.options = CompactOptions(max_struct_fields=4, codec="snappy", row_group_mb=1)
    base = {"id": {"S": "a"}, "n": {"N": "1"}}
    wide = {f"k{i}": {"N": f"{i}.5"} for i in range(9)}
    images = [{**base, "m": {"M": {k: v}}} for k, v in wide.items()]
    images += [{**base, "x": {"M": {"a": {"M": wide}}}}, {**base, "x": {"M": {"b": {"M": {}}}}}]
    images += [{**base, "l": {"L": [{"NULL": True}]}}, {**base, "e": {"M": {}}}, {**base, "o": {"NULL": True}}]
    lake.put(DAY, "1.gz", lake.lines(images))
    engines.compare(lake)


def test_what_is_no_record_goes_to_the_same_quarantine(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = engines.lake()
    a = {"id": {"S": "a"}, "n": {"N": "1"}, "t": {"S": "ä" * 50}}
    good = lake.lines([a] * 200)
    lake.put(DAY, "1.gz", [good[0], "no json", "", '{"__operation":"INSERT"}', "[]", '{"a":1,"a":2}', CANARY])
    lake.put(DAY, "2.gz", gzip.compress("\n".join(good).encode())[:-30])
    lake.put(DAY, "3.plain", f"{good[1]}\nNaN\n".encode())
    lake.put(DAY, "4.gz", gzip.compress(f"{good[2]}\n".encode()) + gzip.compress(good[3].encode()))
    body = bytearray(gzip.compress("\n".join(good).encode(), 1))
    body[len(body) // 2] ^= 0xFF
    lake.put(DAY, "5.gz", bytes(body))
    lake.put(DAY, "6.gz", b"\x1f\x8b no gzip")
    lake.put(DAY, "7.gz", gzip.compress(b'{"id":"\xff"}\n'))
    lake.put(DAY, "8.gz", f"{good[4]}\nplain text under a name of gzip\n".encode())
    gone = RawObject(lake.names.raw_day(DAY) + "9.gz", "0" * 32, 10)
    with monkeypatch.context() as listing:
        listed = list_day(lake.clients, lake.names, DAY)
        for module in ("dynalake.compact.convert", "dynalake.spark.convert"):
            listing.setattr(f"{module}.list_day", lambda *_: [*listed, gone])
        manifest = engines.compare(lake)
    # What comes out of a corrupt object before the error may be garbage, in lines of its own.
    assert manifest.reasons["gzip is corrupt"] == 2
    assert manifest.reasons["gzip is cut short"] == 1
    assert manifest.reasons["the object was deleted after it was listed"] == 1
    assert manifest.reasons["not UTF-8"] >= 1
    assert manifest.reasons["not JSON"] >= 2
    assert manifest.reasons["not a JSON object but list"] == 1
    assert manifest.reasons["NaN is no JSON number"] == 1
    assert manifest.quarantined == sum(manifest.reasons.values())

    lake.clients.s3.delete_object(Bucket=LAKE.bucket, Key=manifest.key(lake.names))
    lake.options = CompactOptions(max_quarantined=2)
    for engine in (engines.arrow, engines.on_spark):
        with pytest.raises(QuarantineError, match="More than 2 lines"):
            engine(lake, DAY)


def test_an_empty_partition_has_a_file(engines: Engines) -> None:
    lake = engines.lake()
    lake.put(DAY, "1.gz", [CANARY])
    assert [part.rows for part in engines.compare(lake).parts] == [0]


def test_a_conversion_is_reused_published_and_widened(engines: Engines) -> None:
    """The table's types count as much as the partition's, and what one engine has made the other takes."""
    lake = engines.lake()
    base = {"id": {"S": "a"}, "n": {"N": "1"}}
    lake.put(DAY, "1.gz", lake.lines([{**base, "v": {"N": "1"}, "m": {"M": {"x": {"N": "1"}}}}]))
    first = engines.on_spark(lake, DAY)
    assert engines.arrow(lake, DAY).reused
    assert engines.on_spark(lake, DAY) == replace(first, reused=True)
    assert publish_table(lake.clients, lake.names, [first], lake.options, noon(OTHER)).through == DAY
    assert [table.num_rows for table in lake.published(DAY)] == [1]

    lake.put(
        OTHER, "1.gz", lake.lines([{**base, "v": {"S": "text"}, "m": {"M": {"x": {"N": "1.5"}, "y": {"N": "1"}}}}])
    )
    second = engines.on_spark(lake, OTHER)
    assert engines.compare(lake, DAY, beside=[second.manifest]).schema.column("v") is not None
    again = engines.on_spark(lake, DAY, beside=[second.manifest])
    assert publish_table(lake.clients, lake.names, [second, again], lake.options, noon("20240103")).through == OTHER
    assert [row["v"] for row in lake.published(DAY)[0].to_pylist()] == ["1"]


def test_parts_are_ranges_of_keys_and_a_retry_writes_the_same_bytes(engines: Engines) -> None:
    lake = engines.lake()
    lake.options = CompactOptions(part_mb=1, row_group_mb=1)
    noise = Random(1)
    items = [
        {"id": {"S": noise.randbytes(4).hex()}, "n": {"N": "1"}, "t": {"S": "x" * 15_000 + noise.randbytes(99).hex()}}
        for _ in range(1500)
    ]
    lines = lake.lines(items)
    for number in range(4):
        lake.put(DAY, f"{number}.gz", lines[number::4])
    manifest = engines.compare(lake)
    assert len(manifest.parts) == 3
    assert min(part.rows for part in manifest.parts) > 300
    before = lake.objects("dynamodb/parquet/")
    lake.clients.s3.delete_object(Bucket=LAKE.bucket, Key=manifest.key(lake.names))
    assert not engines.on_spark(lake, DAY).reused
    assert lake.objects("dynamodb/parquet/") == before


def test_parts_are_ranges_of_the_order_that_is_asked_for(engines: Engines) -> None:
    """Of duplicates that are at different places the same one stays; nulls come last, ties by key."""
    lake = engines.lake()
    lake.options = CompactOptions(part_mb=1, row_group_mb=1, sort_by=("at", "__event_time"))
    noise = Random(2)
    items: list[dict[str, Any]] = [
        {"id": {"S": f"{n}"}, "n": {"N": "1"}, "at": {"N": f"{noise.randrange(-9, 9) / 4}"}, "t": {"S": "x" * 15_000}}
        for n in range(1500)
    ]
    for item in items[::5]:
        item["at"] = {"NULL": True}
    lines = lake.lines(items)
    later = [line.replace('"__event_time":4000000000000', '"__event_time":4000000000001') for line in lines[:9]]
    for number in range(4):
        lake.put(DAY, f"{number}.gz", [*lines[number::4], *later[number::4]])
    manifest = engines.compare(lake)
    assert (len(manifest.parts), manifest.rows, manifest.duplicates) == (3, 1500, 9)
    places = [(row["at"] is None, row["at"] or 0) for row in engines.rows(lake, manifest).select(["at"]).to_pylist()]
    assert places == sorted(places)

    lake.clients.s3.delete_object(Bucket=LAKE.bucket, Key=manifest.key(lake.names))
    lake.options = CompactOptions(sort_by=("At",))
    for engine in (engines.arrow, engines.on_spark):
        with pytest.raises(SettingsError, match="sort_by names 'At'"):
            engine(lake, DAY)
