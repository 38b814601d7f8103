"""One table from its first item to compacted Parquet, with writers that never pause: the product's steps in DAG order.

Everything that may come out in more than one way is drawn from the seed: the table's key and stream, the items and the
writes, the delivery, the segments, what is killed or delivered twice, and on which days the changes arrive. How the
writers' threads fall between the steps is not; so a seed that fails may pass, and mostly does not.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from dynalake.catalog.discover import observe_new_attributes
from dynalake.catalog.partitions import register_days
from dynalake.catalog.register import register_table
from dynalake.catalog.tables import read_schema
from tests.unit.compact.lake import TestLake

from dynalake.backfill.commit import commit_backfill
from dynalake.backfill.convert import convert_group
from dynalake.backfill.export import check_exports, request_exports
from dynalake.backfill.manifest import store_groups
from dynalake.backfill.run import plan_backfill
from dynalake.backfill.scan import scan_segment
from dynalake.capture.hand_off import load_hand_off, record_hand_off
from dynalake.capture.source import check_source
from dynalake.capture.specs import table_spec
from dynalake.capture.stacks import apply_stack
from dynalake.capture.teardown import delete_stack, stop_mapping
from dynalake.capture.verify import check_pipeline
from dynalake.clients import Clients
from dynalake.days import SNAPSHOT_DAY, shift_day
from dynalake.names import Lake, TableNames
from dynalake.record.change import pad_sequence_number
from dynalake.record.key import ItemKey, KeyAttribute
from dynalake.settings import TableSettings
from infra.local.demo.check import compare_rows, scan_table, view_sql
from tests.aws.capture_steps import patiently, prove, raw_changes
from tests.waiting import eventually

KEYS = (
    ItemKey(KeyAttribute("id", "S")),
    ItemKey(KeyAttribute("id", "N")),
    ItemKey(KeyAttribute("id", "B"), KeyAttribute("at", "N")),
)
IDENTITIES = 40
"""Different items that are written: few, so that each is changed and deleted several times."""

Item = dict[str, Any]
Query = Callable[[str], list[tuple[str | None, ...]]]


@dataclass(frozen=True)
class Place:
    """Where the tables are made: the lake, its first two stacks' outputs, and how its SQL is run."""

    clients: Clients
    lake: Lake
    storage: Mapping[str, str]
    forwarder: Mapping[str, str]
    streams: Any
    fail: Callable[..., None]
    query: Query


class Killed(Exception):
    """A task was killed."""


@dataclass
class Writer:
    """Writes until it is stopped: puts, updates of one attribute, deletes, batches; each seed its own mixture."""

    clients: Clients
    table: str
    key: ItemKey
    random: Random
    times: Callable[[Random], Item] = field(init=False)

    def __post_init__(self) -> None:
        self.times = self.random.choice((_milliseconds, _microseconds, _iso, _any_time, _ahead))

    def write(self) -> None:
        dynamodb: Any = self.clients.dynamodb
        identity = self.identity()
        match self.random.choices(("put", "update", "remove", "delete", "batch"), (4, 3, 1, 3, 1))[0]:
            case "put":
                dynamodb.put_item(TableName=self.table, Item=self.item(identity))
            case "update":
                dynamodb.update_item(
                    TableName=self.table,
                    Key=identity,
                    UpdateExpression="SET #n = :n, updatedAt = :t ADD #c :one",
                    ExpressionAttributeNames={"#n": "note", "#c": "count"},
                    ExpressionAttributeValues={
                        ":n": {"S": "changed"},
                        ":t": self.times(self.random),
                        ":one": {"N": "1"},
                    },
                )
            case "remove":
                dynamodb.update_item(
                    TableName=self.table,
                    Key=identity,
                    UpdateExpression="SET updatedAt = :t REMOVE note",
                    ExpressionAttributeValues={":t": self.times(self.random)},
                )
            case "delete":
                dynamodb.delete_item(TableName=self.table, Key=identity)
            case _:
                items = {json.dumps(each, default=repr): each for each in (self.identity() for _ in range(5))}
                requests = [{"PutRequest": {"Item": self.item(each)}} for each in items.values()]
                dynamodb.batch_write_item(RequestItems={self.table: requests})

    def identity(self) -> Item:
        number = self.random.randrange(IDENTITIES)
        return {a.name: _key_value(a.type, number if n == 0 else number % 3) for n, a in enumerate(self.key.attributes)}

    def item(self, identity: Item) -> Item:
        """The same attribute may be text here and a number there, and numbers have up to 38 digits."""
        random = self.random
        item: Item = {**identity, "count": {"N": str(random.randrange(10**6))}}
        if random.random() < 0.9:
            item["updatedAt"] = self.times(random)
        if random.random() < 0.5:
            item["note"] = random.choice(({"S": "é\n\u2028"}, {"S": ""}, {"N": str(random.getrandbits(120))}))
        if random.random() < 0.3:
            item["lines"] = {"L": [{"M": {"price": {"N": f"{random.randrange(9999)}.{random.randrange(99):02}"}}}]}
        if random.random() < 0.1:
            item[random.choice(("Extra", "tags", "raw"))] = random.choice(
                ({"SS": ["b", "a"]}, {"B": b"\x00\xff"}, {"BOOL": True}, {"NULL": True})
            )
        return item

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write as long as the block runs."""
        stopped, errors = threading.Event(), list[Exception]()

        def work() -> None:
            try:
                while not stopped.wait(self.random.uniform(0, 0.06)):
                    self.write()
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(30)
        if errors:
            raise errors[0]


def hand_over(place: Place, method: str, seed: int) -> None:
    """Run a whole table by the seed, and check what the lake holds at the end."""
    random = Random(seed)
    clients = place.clients
    names = place.lake.table(f"handoff-{method}-{seed}")
    key = random.choice(KEYS)
    stream_first = random.random() < 0.7
    _make_table(clients, names, key, stream=stream_first)
    writers = [Writer(clients, names.table, key, Random(random.random())) for _ in range(random.randint(2, 3))]
    for _ in range(random.choice((0, 5, 60))):
        random.choice(writers).write()
    try:
        with writers[0].writing(), writers[1].writing(), writers[-1].writing():
            _set_up(place, names, random)
            _back_fill(clients, names, method, random)
            time.sleep(random.uniform(0, 0.3))
        written = _stream_changes(place, names)
        _wait(clients, names, written)
        stop_mapping(clients, names)
        _check_changes(place, names, written)
        days = _spread(clients, names, random)
        # Night by night, or all of them at once.
        for day in days if random.random() < 0.5 else days[-1:]:
            _compact(clients, names, day)
        _check_changes(place, names, written)
        _check_current(place, names)
    finally:
        delete_stack(clients, names)
        clients.dynamodb.delete_table(TableName=names.table)


def _make_table(clients: Clients, names: TableNames, key: ItemKey, *, stream: bool) -> None:
    specification: Any = {"StreamEnabled": stream}
    if stream:
        specification["StreamViewType"] = "NEW_AND_OLD_IMAGES"
    roles: tuple[Any, ...] = ("HASH", "RANGE")
    clients.dynamodb.create_table(
        TableName=names.table,
        KeySchema=[{"AttributeName": n, "KeyType": role} for n, role in zip(key.names, roles, strict=False)],
        AttributeDefinitions=[{"AttributeName": a.name, "AttributeType": a.type} for a in key.attributes],  # type: ignore[typeddict-item]
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification=specification,
    )


def _set_up(place: Place, names: TableNames, random: Random) -> None:
    """`dynalake_setup` from the check of the source on."""
    clients = place.clients
    settings = TableSettings(
        names.table,
        delivery=random.choice(("kinesis", "direct")),
        buffer_seconds=random.randrange(10),
        batch_size=random.choice((7, 100, 1000)),
        batch_window_seconds=random.choice((0, 5)),
        parallelization=random.choice((1, 3)),
    )
    source = check_source(clients, names.table, enable_stream=True, enable_pitr=True)
    table = apply_stack(clients, table_spec(names, settings, source, place.storage, place.forwarder))
    patiently(lambda: check_pipeline(clients, names, settings, table["MappingId"]))
    patiently(lambda: prove(clients, names, "canary"))
    if random.random() < 0.4:
        # What the forwarder has sent is sent again, because its answer is lost.
        function = place.lake.forwarder
        place.fail(service="lambda", operation="Invoke", code="Lost", times=2, after=True, resource=function)
    register_table(clients, names, source.key, source_arn=source.arn)
    today = names.lake.day_of(datetime.now(UTC))
    register_days(clients, names, [shift_day(today, ahead) for ahead in range(8)])
    record_hand_off(clients, names, table["MappingId"])


def _back_fill(clients: Clients, names: TableNames, method: str, random: Random) -> None:
    """`dynalake_backfill`, a segment after another, each killed or not."""
    plan = plan_backfill(
        clients,
        names,
        run="first",
        method=method,
        hand_off=load_hand_off(clients, names).at.isoformat(),
        segments=random.randint(1, 4),
        max_read_capacity=random.choice((0, 500)),
        consistent=random.random() < 0.5,
    )
    read, segments = (_convert, _export(clients, names)) if method == "export" else (_scan, plan.segments)
    for segment in range(segments):
        if random.random() < 0.2:
            _kill(lambda segment=segment: read(_dying(clients, random), names, segment))  # type: ignore[misc]
        read(clients, names, segment)
    commit_backfill(clients, names, run="first")
    observe_new_attributes(clients, names, [SNAPSHOT_DAY, names.lake.day_of(datetime.now(UTC))])


def _scan(clients: Clients, names: TableNames, segment: int) -> None:
    scan_segment(clients, names, run="first", segment=segment)


def _export(clients: Clients, names: TableNames) -> int:
    """How many groups of files the export has."""
    exports = request_exports(clients, names, run="first")
    finished = patiently(lambda: check_exports(clients, names, exports))
    return len(store_groups(clients, names, finished, run="first").groups)


def _convert(clients: Clients, names: TableNames, segment: int) -> None:
    convert_group(clients, names, run="first", segment=segment)


def _kill(task: Callable[[], None]) -> None:
    try:
        task()
    except Killed:
        pass


def _dying(clients: Clients, random: Random) -> Clients:
    """Clients of which S3's puts end the task, before or after they are done."""
    after = random.random() < 0.5

    class Dying:
        def __getattr__(self, name: str) -> Any:
            return getattr(clients.s3, name)

        def put_object(self, **request: Any) -> None:
            if after:
                clients.s3.put_object(**request)
            raise Killed

    return Clients(lambda service: Dying() if service == "s3" else clients._make(service))


def _stream_changes(place: Place, names: TableNames) -> Counter[str]:
    """The sequence numbers, padded, of everything in the table's stream."""
    arn = place.clients.dynamodb.describe_table(TableName=names.table)["Table"]["LatestStreamArn"]
    found: Counter[str] = Counter()
    for shard in place.streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = place.streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            page = place.streams.get_records(ShardIterator=iterator)
            found.update(pad_sequence_number(record["dynamodb"]["SequenceNumber"]) for record in page["Records"])
            iterator = page.get("NextShardIterator") if page["Records"] else None
    return found


def _wait(clients: Clients, names: TableNames, written: Counter[str]) -> None:
    """Until every change of the stream is in the raw zone."""

    def missing() -> set[str]:
        return written.keys() - {change["__sequence_number"] for change in raw_changes(clients, names)}

    eventually(missing, lambda found: not found)


def _spread(clients: Clients, names: TableNames, random: Random) -> list[str]:
    """As if the changes had arrived on some days, and some objects on the same day or on others again; all the days."""
    today = names.lake.day_of(datetime.now(UTC))
    days = [shift_day(today, ahead) for ahead in range(random.randint(1, 3))]
    for entry in clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.raw_day(today)).get("Contents", []):
        key = entry["Key"]
        copies = {_moved(names, key, today, random.choice(days))}
        while random.random() < 0.3:
            copies.add(_moved(names, key, today, random.choice(days)) + random.choice(("", "-again.gz")))
        for copy in copies - {key}:
            clients.s3.copy_object(
                Bucket=names.lake.bucket, Key=copy, CopySource={"Bucket": names.lake.bucket, "Key": key}
            )
        if key not in copies:
            clients.s3.delete_object(Bucket=names.lake.bucket, Key=key)
    return days


def _moved(names: TableNames, key: str, today: str, day: str) -> str:
    return key.replace(names.raw_day(today), names.raw_day(day))


def _compact(clients: Clients, names: TableNames, day: str) -> None:
    """`dynalake_compact` when the day is over."""
    now = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1, hours=2)
    published = TestLake(clients, names).run(now)
    assert not published.reconvert
    assert published.snapshot


def _check_current(place: Place, names: TableNames) -> None:
    """`{table}_current` is the table, value by value."""
    schema = read_schema(place.clients, names)
    rows = place.query(view_sql(names, schema))
    comparison = compare_rows(names, schema, scan_table(place.clients, names), rows)
    assert comparison.same, comparison.text()


def _check_changes(place: Place, names: TableNames, written: Counter[str]) -> None:
    """`{table}` has every change of the stream once, and of every item one snapshot at most."""
    keys = ", ".join(f'CAST("{column.name}" AS varchar)' for column in read_schema(place.clients, names).key_columns)
    rows = place.query(f'SELECT __operation, __sequence_number, {keys} FROM "{names.changes_view}"')
    changes = Counter(row[1] for row in rows if row[0] != "SNAPSHOT")
    assert changes == written, _difference(changes, written)
    snapshots = Counter(row[2:] for row in rows if row[0] == "SNAPSHOT")
    assert set(snapshots.values()) <= {1}, "an item stands twice in the snapshot"


def _difference(found: Counter[str | None], written: Counter[str]) -> str:
    missing, more = written.keys() - found.keys(), {n: count for n, count in found.items() if count != written[n or ""]}
    return f"{len(missing)} changes are missing, {len(more)} are there more than once or from nowhere: {more}"


def _key_value(kind: str, number: int) -> Item:
    return {"B": f"{number}".encode()} if kind == "B" else {kind: f"{number}"}


def _milliseconds(random: Random) -> Item:
    return {"N": f"{time.time_ns() // 10**6}"}


def _microseconds(random: Random) -> Item:
    return {"S": f"{time.time_ns() // 1000}"}


def _iso(random: Random) -> Item:
    return {"S": datetime.now(UTC).isoformat()}


def _any_time(random: Random) -> Item:
    return random.choice((_milliseconds, _microseconds, _iso))(random)


def _ahead(random: Random) -> Item:
    """Now and then a time that is not yet: it says nothing of when the item was written."""
    if random.random() < 0.7:
        return _any_time(random)
    return {"S": (datetime.now(UTC) + timedelta(days=400)).isoformat()}
