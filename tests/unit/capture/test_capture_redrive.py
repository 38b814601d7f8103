"""Failed changes are listed, replayed in pieces that Lambda accepts, and marked only when stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.aws.clients import Clients
from dynalake.capture.failed.failed import (
    FailedBatch,
    comes_from,
    general_reason,
    list_failed,
    parse_batch,
    summarize,
)
from dynalake.capture.failed.redrive import CHUNK_BATCHES, CHUNK_BYTES, RedrivePlan, load_plan, plan_chunks, save_plan
from dynalake.capture.failed.replay import check_replayed, events, mark_done, replay_chunk
from dynalake.errors import NotReadyError, RecordError, SettingsError, StackError
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake, TableNames
from forwarder.handler import Forwarder, redrive
from forwarder.rejected import Rejected, rejected_object
from forwarder.targets import Targets

NAMES = Lake("dev", "123456789012", "eu-west-1").table("RECEIPTS")
NOW = datetime(2019, 5, 25, tzinfo=UTC)


def arn(table: str = "RECEIPTS") -> str:
    return f"arn:aws:dynamodb:eu-west-1:123456789012:table/{table}/stream/2019-05-25T00:00:00.000"


def record(number: int, **change: Any) -> dict[str, Any]:
    content = {
        "ApproximateCreationDateTime": 1558742400.0,
        "SequenceNumber": str(number),
        "Keys": {"id": {"S": "a"}},
        "NewImage": {"id": {"S": "a"}},
        **change,
    }
    return {"eventName": "INSERT", "eventSourceARN": arn(), "dynamodb": content}


def invocation(
    records: list[Any], *, table: str = "RECEIPTS", function: str = NAMES.lake.forwarder, as_text: bool = True
) -> bytes:
    event = {"Records": records}
    content = {
        "requestContext": {
            "functionArn": f"arn:aws:lambda:eu-west-1:123456789012:function:{function}",
            "condition": "RetryAttemptsExhausted",
        },
        "responseContext": {"functionError": "Unhandled"},
        "DDBStreamBatchInfo": {"streamArn": arn(table), "batchSize": len(records)},
        "payload": json.dumps(event) if as_text else event,
    }
    return json.dumps(content).encode()


def batch(number: int, stage: str = "mapping", size: int = 100, reason: str = "why", changes: int = 2) -> FailedBatch:
    return FailedBatch(f"key-{number:05}", stage, reason, changes, NOW, size)


# -- decisions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [True, False])
def test_a_payload_is_an_event_or_its_text(as_text: bool) -> None:
    content = parse_batch(invocation([record(1), record(2)], as_text=as_text), "key")
    assert content.records == [record(1), record(2)]
    assert content.reason == "RetryAttemptsExhausted: the function answered Unhandled"


def test_a_rejected_change_is_a_batch_of_one() -> None:
    _, body = rejected_object(NAMES, Rejected(0, record(1), "too large"))
    assert parse_batch(body, "key").records == [record(1)]
    assert parse_batch(body, "key").reason == "too large"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"payload": "{"}', b'{"payload": {"Records": 1}}', b"\xff"])
def test_an_error_names_an_object_that_is_not_a_batch(body: bytes) -> None:
    with pytest.raises(RecordError, match="some/key is not a failed batch"):
        parse_batch(body, "some/key")


def test_a_batch_belongs_to_the_table_of_its_stream() -> None:
    assert comes_from(NAMES, invocation([]))
    assert not comes_from(NAMES, invocation([], table="RECEIPTS2"))
    assert not comes_from(NAMES, invocation([], function="dynalake-prod-forwarder"))
    assert not comes_from(NAMES, b"{}")
    other = Lake("dev", "123456789012", "eu-west-2").table("RECEIPTS")
    assert not comes_from(other, invocation([]))


def test_reasons_are_counted_without_their_values() -> None:
    long, other = "The change record has 300123 bytes, the limit is 5120", "'S' is \"x\""
    failed = [batch(1, reason=long), batch(2, reason=long.replace("300123", "9")), batch(3, "forwarder", reason=other)]
    first, second = summarize(failed)
    assert (first.reason, first.batches, first.changes) == ("The change record has N bytes, the limit is N", 2, 4)
    assert (second.stage, second.reason) == ("forwarder", "… is …")
    assert first.oldest == "2019-05-25T00:00:00+00:00"
    assert len(general_reason("x" * 1000)) == 301


def test_chunks_have_one_stage_and_a_bounded_size() -> None:
    failed = [batch(n, "forwarder", changes=1) for n in range(CHUNK_BATCHES + 1)]
    failed += [batch(n, "mapping", size=CHUNK_BYTES) for n in range(2)]
    chunks = plan_chunks(failed)
    assert [(chunk.stage, len(chunk.keys)) for chunk in chunks] == [
        ("forwarder", CHUNK_BATCHES), ("forwarder", 1), ("mapping", 1), ("mapping", 1)
    ]  # fmt: skip
    assert [chunk.label for chunk in chunks] == [
        "forwarder 1–500 (500 changes)", "forwarder 501–501 (1 changes)", "mapping 1–1 (2 changes)",
        "mapping 2–2 (2 changes)",
    ]  # fmt: skip
    assert plan_chunks([]) == ()
    plan = RedrivePlan(summarize(failed), chunks)
    assert RedrivePlan.from_json(plan.to_json()) == plan
    assert (plan.batches, plan.changes) == (CHUNK_BATCHES + 3, CHUNK_BATCHES + 5)
    assert plan.table().splitlines()[1].startswith("forwarder | why | 501 | 501 | 2019-05-25")


@given(st.lists(st.integers(1, 400), max_size=50), st.integers(100, 500), st.integers(1, 9))
def test_events_keep_order_and_limits(sizes: list[int], size: int, count: int) -> None:
    records = ["x" * each for each in sizes]
    payloads = list(events(records, size, count))
    assert [each for event in payloads for each in event] == records
    for event in payloads:
        assert 0 < len(event) <= count
        assert len(event) == 1 or sum(len(each) + 2 for each in event) <= size


# -- replays, with the forwarder's own code behind the invocation ------------------------------------------------------


class Function:
    """Lambda with the real forwarder; `failing` are the stream's answers, one per request."""

    def __init__(self, s3: Any) -> None:
        self.lines: list[dict[str, Any]] = []
        self.events: list[int] = []
        self.failing: list[str] = []
        self.refused = False
        self.answer: dict[str, Any] | None = None
        self.forwarder = Forwarder(Targets(NAMES.lake, self), kinesis=self, firehose=self, s3=s3)

    def get_parameter(self, Name: str) -> dict[str, Any]:
        return {"Parameter": {"Value": '{"delivery":"kinesis","max_record_kb":5}'}}

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        if self.failing:
            code = self.failing.pop(0)
            self.refused = True
            return {"Records": [{"ErrorCode": code} for _ in Records]}
        for record in Records:
            self.lines += map(json.loads, record["Data"].splitlines())
        return {"Records": [{} for _ in Records]}

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:
        assert FunctionName == NAMES.lake.forwarder
        event = json.loads(Payload)
        self.events.append(len(event["Records"]))
        # No time is left after a refusal, so the caller has to send the failed ones again.
        self.refused = False
        answer = self.answer or redrive(
            self.forwarder, event["table"], event["Records"], lambda: 0.0 if self.refused else 60.0
        )
        return {
            "Payload": _Body(json.dumps(answer).encode()),
            **({"FunctionError": "x"} if "errorType" in answer else {}),
        }


class _Body:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self) -> bytes:
        return self.data


class World:
    """A bucket with failed batches, and a function."""

    def __init__(self, session: boto3.Session) -> None:
        s3 = session.client("s3", region_name="eu-west-1")
        where: Any = {"LocationConstraint": "eu-west-1"}
        s3.create_bucket(Bucket=NAMES.lake.bucket, CreateBucketConfiguration=where)
        self.function = Function(s3)
        cloudformation = session.client("cloudformation", region_name="eu-west-1")
        self.clients = Clients({"s3": s3, "lambda": self.function, "cloudformation": cloudformation}.__getitem__)

    def put(self, key: str, body: bytes) -> str:
        self.clients.s3.put_object(Bucket=NAMES.lake.bucket, Key=key, Body=body)
        return key

    def put_aside(self, changed: dict[str, Any], reason: str = "why") -> str:
        return self.put(*rejected_object(NAMES, Rejected(0, changed, reason)))

    def listed(self, prefix: str = "") -> list[str]:
        listed = self.clients.s3.list_objects_v2(Bucket=NAMES.lake.bucket, Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def replay(self, names: TableNames = NAMES) -> list[Any]:
        waits: list[float] = []
        chunks = plan_chunks(list_failed(Table(self.clients, names)))
        return [replay_chunk(Table(self.clients, names), "run", chunk, sleep=waits.append) for chunk in chunks]


@pytest.fixture
def world(mocked: boto3.Session) -> World:
    return World(mocked)


def test_everything_that_succeeds_is_stored_and_marked(world: World) -> None:
    mapped = world.put("aws/lambda/uuid-1/shard-0/2019/05/25/a", invocation([record(1), record(2)]))
    older = world.put("aws/lambda/uuid-0/shard-0/2019/05/25/a", invocation([record(3)], as_text=False))
    foreign = world.put("aws/lambda/uuid-2/shard-0/2019/05/25/a", invocation([record(4)], table="OTHER"))
    aside = [world.put_aside(record(5)), world.put_aside(record(6))]
    assert [b.key for b in list_failed(Table(world.clients, NAMES))] == [*sorted(aside), older, mapped]
    first, second = world.replay()
    assert (first.done, first.changes, second.done, second.changes) == (2, 2, 2, 3)
    assert sorted(int(line["__sequence_number"]) for line in world.function.lines) == [1, 2, 3, 5, 6]
    # Single changes travel together, a mapping's batches as they were.
    assert world.function.events == [2, 1, 2]
    assert world.listed("aws/") == [foreign]
    assert world.listed("dynamodb-errors/") == [
        *sorted(NAMES.redriven(key) for key in aside),
        NAMES.redriven(older),
        NAMES.redriven(mapped),
    ]
    assert NAMES.redriven(mapped) == "dynamodb-errors/done/RECEIPTS/mapping/uuid-1/shard-0/2019/05/25/a"
    head = world.clients.s3.head_object(Bucket=NAMES.lake.bucket, Key=NAMES.redriven(mapped))
    assert head["Metadata"] == {"dynalake-run": "run"}
    assert list_failed(Table(world.clients, NAMES)) == ()
    assert world.replay() == []


def test_changes_that_still_fail_are_kept_with_their_reason(world: World) -> None:
    stays = world.put_aside(record(2, NewImage={"price": {"N": "NaN"}}), "an old reason")
    # Earlier versions rejected changes that are longer than a record of the stream.
    passes = world.put_aside(record(1, NewImage={"id": {"S": "a"}, "text": {"S": "x" * 6000}}))
    mapped = world.put("aws/lambda/uuid/s/2019/05/25/a", invocation([record(3), record(4, NewImage={"n": {"N": "x"}})]))
    first, second = world.replay()
    assert list(first.rejected) == [stays]
    assert "'NaN'" in first.rejected[stays]
    assert len(world.listed(NAMES.raw_prefix)) == 1
    assert (second.done, second.changes, second.put_aside) == (1, 1, 1)
    assert passes not in world.listed()
    assert mapped not in world.listed()
    # The mapping's batch is done: changes that still fail are batches of their own now.
    reasons = {batch.key: batch.reason for batch in list_failed(Table(world.clients, NAMES))}
    assert len(reasons) == 2
    assert "'NaN'" in reasons[stays]
    with pytest.raises(RecordError, match=r"1 batches of table 'RECEIPTS' cannot pass.* 1 changes of replayed.*NaN"):
        check_replayed("RECEIPTS", [first.to_dict(), second.to_dict()])
    check_replayed("RECEIPTS", [])


def test_partial_failures_are_sent_again_from_the_first(world: World) -> None:
    key = world.put("aws/lambda/uuid/s/2019/05/25/a", invocation([record(1), record(2)]))
    world.function.failing = ["ProvisionedThroughputExceededException"]
    (done,) = world.replay()
    assert done.changes == 2
    assert [int(line["__sequence_number"]) for line in world.function.lines] == [1, 2]
    assert world.listed("aws/") == []
    world.put(key, invocation([record(1), record(2)]))
    world.function.failing = ["ProvisionedThroughputExceededException"] * 99
    with pytest.raises(NotReadyError, match=r"2 of 2 replayed changes .* ProvisionedThroughputExceededException"):
        world.replay()
    assert world.listed("aws/") == [key]


def test_a_run_killed_between_any_two_steps_continues(world: World) -> None:
    mapped = world.put("aws/lambda/uuid/s/2019/05/25/a", invocation([record(1)]))
    aside = world.put_aside(record(2))
    chunks = plan_chunks(list_failed(Table(world.clients, NAMES)))
    # After the copy, before the deletion.
    world.clients.s3.copy_object(
        Bucket=NAMES.lake.bucket, Key=NAMES.redriven(mapped), CopySource=f"{NAMES.lake.bucket}/{mapped}"
    )
    for chunk in chunks * 2:
        replay_chunk(Table(world.clients, NAMES), "run", chunk)
    mark_done(Table(world.clients, NAMES), aside, "run")
    again = [replay_chunk(Table(world.clients, NAMES), "run", chunk) for chunk in chunks]
    assert [(outcome.done, outcome.gone) for outcome in again] == [(0, 1), (0, 1)]
    assert sorted(int(line["__sequence_number"]) for line in world.function.lines) == [1, 2]
    assert world.listed() == sorted([NAMES.redriven(mapped), NAMES.redriven(aside)])


def test_chosen_batches_are_keys_uris_and_prefixes(world: World) -> None:
    mapped = world.put("aws/lambda/uuid/s/2019/05/25/a", invocation([record(1)]))
    aside = world.put_aside(record(2))

    def chosen(*choices: str) -> list[str]:
        return [batch.key for batch in list_failed(Table(world.clients, NAMES), choices)]

    assert chosen(mapped) == [mapped]
    assert chosen(NAMES.uri(aside)) == [aside]
    assert chosen("aws/lambda/", aside) == [aside, mapped]
    assert chosen(NAMES.rejected("forwarder")) == [aside]
    with pytest.raises(SettingsError, match=r"'RECEIPTS': aws/lambda/uuid; nothing\..*2 batches.*dry_run"):
        chosen("aws/lambda/uuid", mapped, "nothing")
    mark_done(Table(world.clients, NAMES), mapped, "run")
    with pytest.raises(SettingsError, match="replayed already and is at dynamodb-errors/done/RECEIPTS/mapping/uuid"):
        chosen(mapped)


def test_an_unreadable_batch_is_listed_and_kept(world: World) -> None:
    key = world.put(f"{NAMES.rejected('forwarder')}dt=20190525/by-hand.json", b"no json")
    (failed,) = list_failed(Table(world.clients, NAMES))
    assert "is not a failed batch" in failed.reason
    (done,) = world.replay()
    assert list(done.rejected) == [key]
    assert world.listed() == [key]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ({"batchItemFailures": []}, StackError, "older than these DAGs.*dynalake_setup"),
        ({"errorType": "NotReadyError", "errorMessage": "no settings"}, NotReadyError, "forwarder fails.*no settings"),
    ],
)
def test_a_forwarder_that_cannot_replay_changes_nothing(
    world: World, answer: dict[str, Any], error: type[Exception], message: str
) -> None:
    key = world.put_aside(record(1))
    world.function.answer = answer
    with pytest.raises(error, match=message):
        world.replay()
    assert world.listed() == [key]


def test_a_plan_is_stored_with_the_run(world: World) -> None:
    world.put_aside(record(1))
    failed = list_failed(Table(world.clients, NAMES))
    plan = RedrivePlan(summarize(failed), plan_chunks(failed))
    save_plan(Table(world.clients, NAMES), "manual__2019", plan)
    assert load_plan(Table(world.clients, NAMES), "manual__2019") == plan


def test_a_name_that_is_not_that_of_a_batch_is_refused() -> None:
    with pytest.raises(SettingsError, match="'dynamodb/json/RECEIPTS/x'"):
        NAMES.redriven("dynamodb/json/RECEIPTS/x")
