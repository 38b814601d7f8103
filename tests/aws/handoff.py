"""One table from its first item to compacted Parquet, with writers that never pause: the product's steps in DAG order.

From setup on changes are converted, days are compacted, types widen, the state is folded and garbage is collected, all
at the same time and at random moments. A reader queries the tables in a loop.

Every choice is drawn from the seed: the table's key and stream, the items and the
writes, the delivery and how it changes, whether the pipeline is removed and set up again, the segments, what is killed
or delivered twice, and on which days changes arrive again. The timing of the threads is not, so a failing seed may pass
when it is run again, but seldom does.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.backfill.export.export import check_exports, request_exports
from dynalake.backfill.export.manifest import store_groups
from dynalake.backfill.export.read import convert_group
from dynalake.backfill.plan.run import plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.capture.proof.hand_off import load_hand_off, record_hand_off
from dynalake.capture.source.source import check_source
from dynalake.capture.table_stack import TableStack
from dynalake.capture.teardown import delete_stack, stop_mapping
from dynalake.convert.finish import convert_due
from dynalake.days import end_of_day, milliseconds, shift_day
from dynalake.errors import TransientError
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.fold import fold
from dynalake.names import Lake, TableNames
from dynalake.options.backfill import BackfillOptions
from dynalake.options.settings import TableSettings
from dynalake.record.change import pad_sequence_number
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.demo.lake import LakeReader
from infra.local.demo.writing import key_values
from tests.aws.handoff_reader import Watcher, Written, check_changes, check_current, check_history
from tests.aws.handoff_writer import Writer
from tests.support.aws.capture_steps import capture, drain, leave, patiently, raw_changes
from tests.support.aws.lake import convert, night, register, right_now, show
from tests.support.kills import Killed
from tests.support.waiting import PATIENCE, eventually

KEYS = (
    ItemKey(KeyAttribute("id", "S")),
    ItemKey(KeyAttribute("id", "N")),
    ItemKey(KeyAttribute("id", "B"), KeyAttribute("at", "N")),
)


@dataclass(frozen=True)
class Place:
    """The lake in which the tables are made, the outputs of its first two stacks, and clients of local AWS."""

    clients: Clients
    lake: Lake
    storage: Mapping[str, str]
    forwarder: Mapping[str, str]
    streams: Any
    fail: Callable[..., None]
    aws: Mapping[str, str]


@contextmanager
def repeating(step: Callable[[], object], pause: Callable[[], float] = lambda: 0) -> Iterator[None]:
    """Repeat a step as long as the block runs, and raise its error at the end."""
    stopped, errors = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            while not stopped.wait(pause()):
                step()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(PATIENCE)
    if errors:
        raise errors[0]
    assert not thread.is_alive()


def hand_over(place: Place, method: str, seed: int, moments: int) -> None:
    """Run a whole table by the seed, and check the lake all the time and at the end.

    `moments`: the number of moments at which the history is compared with the writes.
    """
    random = Random(seed)
    clients = place.clients
    names = place.lake.table(f"handoff-{method}-{seed}")
    key = random.choice(KEYS)
    stream_first = random.random() < 0.7
    _make_table(clients, names, key, stream=stream_first)
    writers = [Writer(clients, names.table, key, Random(random.random())) for _ in range(random.randint(2, 3))]
    for _ in range(random.choice((0, 5, 60))):
        random.choice(writers).write()
    upkeep = Upkeep(clients, names, Random(random.random()))
    try:
        with ExitStack() as writing:
            for writer in writers:
                writing.enter_context(repeating(writer.write, partial(writer.random.uniform, 0, 0.06)))
            table, stack = _set_up(place, names, random)
            reader, watcher = LakeReader(table, place.aws), Watcher(LakeReader(table, place.aws))
            with repeating(watcher.look, lambda: 0.3), upkeep.going_on():
                with ThreadPoolExecutor(1) as pool:
                    # A backfill takes hours, and a change of the delivery does not wait for it.
                    moved = pool.submit(_switch, stack, Random(random.random())) if random.random() < 0.4 else None
                    reads = _back_fill(table, method, random)
                _move(moved.result() if moved else stack, random)
                time.sleep(random.uniform(1, 2.5))
                writing.close()
                written = _stream_changes(place, names, key)
                _wait(clients, names, written)
                stop_mapping(Table(clients, names))
                days = _repeat(clients, names, random)
                eventually(lambda: watcher.looks > 3 and upkeep.runs.keys() == set(Upkeep.STEPS))
        convert_due(table, right_now)
        check_changes(reader, written)
        check_current(reader)
        # One night after another, or all of them at once.
        for day in days if random.random() < 0.5 else days[-1:]:
            _work_when_over(table, day)
        if random.random() < 0.5:
            fold(table, max(change.time for change in written))
        watcher.look()
        check_changes(reader, written)
        check_current(reader)
        times = [change.time for change in written]
        # While the snapshot is read, it is unknown when an item got the value that was read. Items from before the
        # stream was on are known from the read on.
        known = [range(reads.stop, max(times) + 2000), *([range(min(times), reads.start)] if stream_first else [])]
        check_history(reader, key, written, known, random, moments)
    finally:
        delete_stack(Table(clients, names))
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


def _set_up(place: Place, names: TableNames, random: Random) -> tuple[Table, TableStack]:
    """Run `dynalake_setup` from the check of the source on."""
    clients = place.clients
    batch_size = random.choice((7, 100, 1000))
    settings = TableSettings(
        names.table,
        delivery=random.choice(("kinesis", "direct")),
        buffer_seconds=random.randrange(10),
        batch_size=batch_size,
        batch_window_seconds=random.choice((0 if batch_size == 7 else 1, 5)),
        parallelization=random.choice((1, 3)),
    )
    source = check_source(clients, names.table, enable_stream=True, enable_pitr=True)
    stack = TableStack(Table(clients, names), settings, source, place.storage, place.forwarder)
    mapping_id = capture(stack)
    if random.random() < 0.4:
        # The forwarder sends its records again because the response is lost.
        function = place.lake.forwarder
        place.fail(service="lambda", operation="Invoke", code="Lost", times=2, after=True, resource=function)
    registered = register(clients, names, source.key, source.arn)
    record_hand_off(Table(clients, names), mapping_id)
    return registered, stack


def _move(stack: TableStack, random: Random) -> None:
    """Change a table's pipeline in several ways, one after another in any order, while changes go through it.

    The delivery changes there and back, the old one is removed or stays; or the pipeline is removed and set up again.
    """
    for step in random.sample(("switch", "switch", "again", "stay"), 2):
        time.sleep(random.uniform(0, 1))
        if step == "switch":
            stack = _switch(stack, random)
        elif step == "again":
            drain(stack.table.clients, stack.table.names, f"{random.random()}")
            delete_stack(stack.table)
            record_hand_off(stack.table, capture(stack))


def _switch(stack: TableStack, random: Random) -> TableStack:
    """Change the delivery, and perhaps remove the old one; return the table's new stack."""
    time.sleep(random.uniform(0, 1))
    delivery = "direct" if stack.settings.delivery == "kinesis" else "kinesis"
    stack = replace(stack, settings=replace(stack.settings, delivery=delivery))
    capture(stack)
    if random.random() < 0.5:
        # Lambda's environments come and go; one that stays would use the old settings for a minute.
        function = stack.table.names.lake.forwarder
        stack.table.clients.lambda_.update_function_configuration(FunctionName=function, MemorySize=512)
        leave(stack)
    return stack


def _back_fill(table: Table, method: str, random: Random) -> range:
    """Run `dynalake_backfill`, killing some segments; return the time range (milliseconds) of its reads."""
    clients, names = table.clients, table.names
    plan = plan_backfill(
        Table(clients, names),
        "first",
        BackfillOptions(
            method=method,
            segments=random.randint(1, 4),
            max_read_capacity=random.choice((0, 500)),
            consistent_read=random.random() < 0.5,
        ),
        hand_off=load_hand_off(Table(clients, names)).at.isoformat(),
    )
    run_segment, segments = (_convert, _export(clients, names)) if method == "export" else (_scan, plan.segments)
    for segment in range(segments):
        if random.random() < 0.2:
            _kill(lambda segment=segment: run_segment(_dying(clients, random), names, segment))  # type: ignore[misc]
        run_segment(clients, names, segment)
    end = milliseconds(right_now())
    _until_done(lambda: show(table, "first"))
    return range(plan.read_at_ms, end)


def _scan(clients: Clients, names: TableNames, segment: int) -> None:
    scan_segment(Table(clients, names), run="first", segment=segment)


def _export(clients: Clients, names: TableNames) -> int:
    """Export, and return the number of groups of files."""
    exports = request_exports(Table(clients, names), run="first")
    finished = patiently(lambda: check_exports(Table(clients, names), exports))
    return len(store_groups(Table(clients, names), finished, run="first").groups)


def _convert(clients: Clients, names: TableNames, segment: int) -> None:
    convert_group(Table(clients, names), run="first", segment=segment)


@dataclass
class Upkeep:
    """The steps of `dynalake_convert` and `dynalake_compact`, repeated at the same time; some runs are killed."""

    STEPS = ("convert", "night", "fold")

    clients: Clients
    names: TableNames
    random: Random
    runs: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        soon, later = Random(self.random.random()), Random(self.random.random())
        with (
            repeating(lambda: self.do("convert", soon), lambda: soon.uniform(0, 1)),
            repeating(lambda: self.do(later.choice(self.STEPS[1:]), later), lambda: later.uniform(0, 1)),
        ):
            yield

    def do(self, step: str, random: Random) -> None:
        """Run a step once. If another run came first, the next run does the work, as in Airflow."""
        dies = random.random() < 0.15
        table = Table(_dying(self.clients, random) if dies else self.clients, self.names)
        try:
            getattr(self, step)(table, random)
        except (Killed, TransientError):
            return
        self.runs[step] += 1

    def convert(self, table: Table, random: Random) -> None:
        convert(table)

    def night(self, table: Table, random: Random) -> None:
        """Compact today, too, which is open: a run may name it."""
        days = [self.names.lake.day_of(right_now())] if random.random() < 0.7 else []
        faults = night(table, days=days, fold=random.random() < 0.5)
        assert all(fault.transient for fault in faults), faults

    def fold(self, table: Table, random: Random) -> None:
        fold(table, milliseconds(right_now()) - random.choice((0, 500, 2000)))


def _kill(task: Callable[[], None]) -> None:
    try:
        task()
    except Killed:
        pass


def _until_done(task: Callable[[], object]) -> None:
    """Try a task again if another run came first, as Airflow does."""
    for _ in range(5):
        try:
            task()
            return
        except TransientError:
            continue
    task()


def _dying(clients: Clients, random: Random) -> Clients:
    """Return clients with which one of the next puts to S3 kills the task, before or after the put."""
    after, puts = random.random() < 0.5, iter(range(random.randint(0, 6), -1, -1))

    class Dying:
        def __getattr__(self, name: str) -> Any:
            return getattr(clients.s3, name)

        def put_object(self, **request: Any) -> Any:
            last = next(puts, 0) == 0
            answer = None if last and not after else clients.s3.put_object(**request)
            if last:
                raise Killed
            return answer

    return Clients(lambda service: Dying() if service == "s3" else clients._make(service))


def _stream_changes(place: Place, names: TableNames, key: ItemKey) -> list[Written]:
    """Return every change in the table's stream."""
    arn = place.clients.dynamodb.describe_table(TableName=names.table)["Table"]["LatestStreamArn"]
    changes = []
    for shard in place.streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = place.streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            page = place.streams.get_records(ShardIterator=iterator)
            changes += [_written(record["dynamodb"], key) for record in page["Records"]]
            iterator = page.get("NextShardIterator") if page["Records"] else None
    return changes


def _written(change: Mapping[str, Any], key: ItemKey) -> Written:
    return Written(
        pad_sequence_number(change["SequenceNumber"]),
        milliseconds(change["ApproximateCreationDateTime"]),
        key_values(key, change["Keys"]),
        change.get("OldImage"),
        change.get("NewImage"),
    )


def _wait(clients: Clients, names: TableNames, written: list[Written]) -> None:
    """Wait until every change of the stream is in the raw zone."""

    def missing() -> set[str]:
        return {c.number for c in written} - {change["__sequence_number"] for change in raw_changes(clients, names)}

    eventually(missing, lambda numbers: not numbers, every=1)


def _repeat(clients: Clients, names: TableNames, random: Random) -> list[str]:
    """Let some raw objects arrive again, on the same day or on later ones; return all the days."""
    today = names.lake.day_of(right_now())
    days = [shift_day(today, ahead) for ahead in range(random.randint(1, 3))]
    bucket = names.lake.bucket
    for entry in clients.s3.list_objects_v2(Bucket=bucket, Prefix=names.raw_day(today)).get("Contents", []):
        while random.random() < 0.3:
            copy = entry["Key"].replace(names.raw_day(today), names.raw_day(random.choice(days)))
            source = {"Bucket": bucket, "Key": entry["Key"]}
            clients.s3.copy_object(Bucket=bucket, Key=f"{copy}-again.gz", CopySource=source)  # type: ignore[arg-type]
    return days


def _work_when_over(table: Table, day: str) -> None:
    """Run `dynalake_compact` after the end of the day."""
    over = end_of_day(day, table.names.lake.zone) + timedelta(hours=2)
    assert night(table, lambda: over) == ()
