"""The handler: batches in, answers out."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.errors import NotReadyError, RecordError
from dynalake.names import Lake
from dynalake.record.stream import encode_record
from forwarder.handler import Forwarder, encode_batch, failures, forward, redrive, send_canaries, source_table
from forwarder.large import large_object
from forwarder.packing import Line
from forwarder.rejected import Rejected, rejected_object
from forwarder.targets import KEEP_SECONDS, Target, Targets

LAKE = Lake("dev", "123456789012", "eu-west-1")
NAMES = LAKE.table("RECEIPTS")
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/RECEIPTS/stream/2019-05-25T00:00:00.000"
SETTINGS = '{"delivery":"kinesis","max_record_kb":5,"a_setting_of_tomorrow":1}'


def record(number: int, **change: Any) -> dict[str, Any]:
    content = {
        "ApproximateCreationDateTime": 1558742400.0,
        "SequenceNumber": str(number),
        "Keys": {"id": {"S": "a"}},
        "NewImage": {"id": {"S": "a"}, "text": {"S": "x" * 100}},
        **change,
    }
    return {"eventName": "INSERT", "eventSourceARN": ARN, "dynamodb": content}


class Aws:
    """Stubs of the services, all in one."""

    def __init__(self, settings: str | None = SETTINGS) -> None:
        self.settings = settings
        self.reads = 0
        self.lines: list[dict[str, Any]] = []
        self.hash_keys: list[str | None] = []
        self.objects: dict[str, bytes] = {}
        self.failing: str | None = None
        self.s3_fails = False

    def get_parameter(self, Name: str) -> dict[str, Any]:
        self.reads += 1
        if self.settings is None:
            raise ClientError({"Error": {"Code": "ParameterNotFound", "Message": Name}}, "GetParameter")
        return {"Parameter": {"Value": self.settings}}

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        if self.failing:
            raise ClientError({"Error": {"Code": self.failing, "Message": ""}}, "PutRecords")
        for record in Records:
            self.lines += map(json.loads, record["Data"].splitlines())
            self.hash_keys.append(record.get("ExplicitHashKey"))
        return {"Records": [{} for _ in Records]}

    def put_record_batch(self, DeliveryStreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        self.lines += [json.loads(record["Data"]) for record in Records]
        return {"RequestResponses": [{} for _ in Records]}

    def put_object(self, Bucket: str, Key: str, Body: bytes, ContentType: str, ExpectedBucketOwner: str) -> None:
        assert ExpectedBucketOwner == LAKE.account
        if self.s3_fails:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "PutObject")
        self.objects[Key] = Body


def forwarder(aws: Aws) -> Forwarder:
    return Forwarder(Targets(LAKE, aws), kinesis=aws, firehose=aws, s3=aws)


def minute() -> float:
    return 60.0


def test_only_the_record_that_the_forwarder_fails_on_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are tried again for a day: a fault of the code must not block the records after it."""

    def encode(found: dict[str, Any]) -> str:
        if found["dynamodb"]["SequenceNumber"] == "2":
            raise ZeroDivisionError("a fault of the code")
        return encode_record(found)

    monkeypatch.setattr("forwarder.handler.encode_record", encode)
    aws = Aws()
    assert forward(forwarder(aws), [record(n) for n in (1, 2, 3)], minute) == {"batchItemFailures": []}
    assert [int(line["__sequence_number"]) for line in aws.lines] == [1, 3]
    (rejected,) = aws.objects.values()
    assert b"a fault of the code" in rejected


def test_a_batch_is_sent_and_acknowledged() -> None:
    aws = Aws()
    assert forward(forwarder(aws), [record(n) for n in range(1, 101)], minute) == {"batchItemFailures": []}
    assert [line["__sequence_number"] for line in aws.lines] == [f"{n:040}" for n in range(1, 101)]
    assert aws.objects == {}


def test_a_malformed_record_is_rejected_and_the_rest_is_sent() -> None:
    aws = Aws()
    broken = record(2, NewImage={"price": {"N": "NaN"}})
    batch = [record(1), broken, "no record at all", record(4)]
    assert forward(forwarder(aws), batch, minute) == {"batchItemFailures": []}
    assert [line["__sequence_number"][-1] for line in aws.lines] == ["1", "4"]
    keys = sorted(aws.objects)
    assert keys[0].startswith("dynamodb-errors/forwarder/RECEIPTS/dt=00000000/unknown-")
    assert keys[1].startswith("dynamodb-errors/forwarder/RECEIPTS/dt=20190525/2-")
    stored = [json.loads(aws.objects[key]) for key in keys]
    assert [entry["record"] for entry in stored] == ["no record at all", broken]
    assert "Attribute 'price': A number (N) is 'NaN'" in stored[1]["reason"]
    # A repetition writes the same objects.
    again = Aws()
    forward(forwarder(again), batch, minute)
    assert again.objects == aws.objects


def test_a_change_too_long_for_the_stream_becomes_an_object_of_the_raw_zone() -> None:
    aws = Aws()
    large = record(3, NewImage={"text": {"S": "\x01" * 6000}})
    batch = [record(1), large, record(4)]
    assert forward(forwarder(aws), batch, minute) == {"batchItemFailures": []}
    assert [line["__sequence_number"][-1] for line in aws.lines] == ["1", "4"]
    ((key, body),) = aws.objects.items()
    assert re.fullmatch(rf"dynamodb/json/RECEIPTS/dt=\d{{8}}/large-{3:040}\.gz", key)
    text = gzip.decompress(body).decode()
    assert text.endswith("\n")
    assert json.loads(text)["text"] == "\x01" * 6000
    # Exactly the limit still travels with the others.
    aws = Aws()
    overhead = len(encode_batch([record(1, NewImage={"text": {"S": ""}})])[0][0].data)
    limit = 5 * 1024 - 64
    for length, objects in ((limit - overhead, 0), (limit - overhead + 1, 1)):
        forward(forwarder(aws), [record(1, NewImage={"text": {"S": "x" * length}})], minute)
        assert (len(aws.lines), len(aws.objects)) == (1, objects)


def test_a_large_change_is_stored_on_the_day_of_its_arrival() -> None:
    names = Lake("dev", "123456789012", "eu-west-1", prefix="lake/raw", time_zone="America/New_York").table("RECEIPTS")
    line = Line(0, "7", b"{}\n")
    moment = datetime(2019, 5, 25, 1, tzinfo=UTC)
    key, body = large_object(names, line, moment)
    assert key == f"lake/raw/json/RECEIPTS/dt=20190524/large-{7:040}.gz"
    assert large_object(names, line, moment + timedelta(hours=2)) == (key, body)


def test_a_large_change_that_cannot_be_stored_is_reported_in_its_turn() -> None:
    aws = Aws()
    aws.s3_fails = True
    large, broken = record(3, NewImage={"text": {"S": "x" * 6000}}), record(2, NewImage={"n": {"N": "x"}})
    answer = forward(forwarder(aws), [record(1), large, broken, record(4)], minute)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "3"}]}
    assert [int(line["__sequence_number"]) for line in aws.lines] == [1]


def test_an_uncertain_batch_is_reported_from_its_first_record_on() -> None:
    aws = Aws()
    aws.failing = "AccessDeniedException"
    answer = forward(forwarder(aws), [record(1, NewImage={"n": {"N": "x"}}), record(2), record(3)], minute)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "2"}]}


def test_a_rejected_record_that_cannot_be_stored_is_reported() -> None:
    aws = Aws()
    aws.s3_fails = True
    answer = forward(forwarder(aws), [record(1), record(2, NewImage={"n": {"N": "x"}}), record(3)], minute)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    # Later records are delivered again together with it: sent now, they would be in the lake twice.
    assert [int(line["__sequence_number"]) for line in aws.lines] == [1]


def test_many_rejected_records_leave_time_to_send_the_others() -> None:
    aws = Aws()
    seconds = iter(range(60, 0, -1))
    batch = [record(1), *(record(n, NewImage={"n": {"N": "x"}}) for n in range(2, 100))]
    answer = forward(forwarder(aws), batch, lambda: float(next(seconds)))
    assert [int(line["__sequence_number"]) for line in aws.lines] == [1]
    (failure,) = answer["batchItemFailures"]
    assert int(failure["itemIdentifier"]) == len(aws.objects) + 2


def test_a_redrive_reports_records_that_were_rejected_again() -> None:
    aws = Aws()
    broken = record(2, NewImage={"n": {"N": "x"}})
    answer = redrive(forwarder(aws), "RECEIPTS", [record(1), broken, "no record at all"], minute)
    assert answer["batchItemFailures"] == []
    assert [entry["key"] for entry in answer["rejected"]] == list(aws.objects)
    assert rejected_object(NAMES, Rejected(0, broken, ""))[0] in aws.objects
    assert "'n'" in answer["rejected"][0]["reason"]
    assert [int(line["__sequence_number"]) for line in aws.lines] == [1]
    aws.failing = "KMSDisabledException"
    answer = redrive(forwarder(aws), "RECEIPTS", [record(1)], minute)
    assert answer == {
        "batchItemFailures": [{"itemIdentifier": "1"}],
        "rejected": [],
        "errors": {"KMSDisabledException": 1},
    }


def test_without_settings_the_batch_fails_and_nothing_is_dropped() -> None:
    with pytest.raises(NotReadyError, match=r"settings of table 'RECEIPTS' cannot be read.*dynalake_setup"):
        forward(forwarder(Aws(None)), [record(1)], minute)


@pytest.mark.parametrize("text", ['{"delivery":"pigeon","max_record_kb":5}', '{"delivery":"kinesis"}'])
def test_invalid_settings_fail_the_batch(text: str) -> None:
    with pytest.raises(NotReadyError, match="run dynalake_setup"):
        forward(forwarder(Aws(text)), [record(1)], minute)


def test_settings_are_read_once_a_minute_and_outlive_a_failure() -> None:
    aws, now = Aws(), [0.0]
    targets = Targets(LAKE, aws, clock=lambda: now[0])
    assert targets.get("RECEIPTS") == Target(NAMES, "kinesis", 5)
    targets.get("RECEIPTS")
    assert aws.reads == 1
    now[0] += KEEP_SECONDS
    aws.settings = None
    assert targets.get("RECEIPTS").delivery == "kinesis"
    aws.settings = SETTINGS.replace("kinesis", "direct")
    targets.forget("RECEIPTS")
    assert targets.get("RECEIPTS").delivery == "direct"


def test_the_settings_are_read_again_if_the_stream_is_gone() -> None:
    aws = Aws()
    worker = forwarder(aws)
    aws.failing = "ResourceNotFoundException"
    forward(worker, [record(1)], minute)
    forward(worker, [record(1)], minute)
    assert aws.reads == 2


def test_the_answer_points_to_a_record_with_a_number() -> None:
    batch = [record(1), record(2), "broken", record(3, SequenceNumber=None)]
    assert failures(batch, 3) == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    with pytest.raises(NotReadyError, match="no sequence number"):
        failures(["broken"], 0)


def test_the_table_comes_from_the_stream() -> None:
    assert source_table(["broken", record(1)]) == "RECEIPTS"
    with pytest.raises(RecordError, match="None of 1 records"):
        source_table([{"eventSourceARN": "arn:aws:kinesis:eu-west-1:1:stream/x"}])


def test_canaries_go_into_the_named_shards() -> None:
    aws = Aws()
    canaries = [
        {"id": "run/1", "hash_key": "0"},
        {"id": "run/2", "hash_key": str(2**127)},
    ]
    assert send_canaries(forwarder(aws), "RECEIPTS", "kinesis", canaries, minute) == {"stream": "dynalake-dev-RECEIPTS"}
    times = [line.pop("__event_time") for line in aws.lines]
    assert len(set(times)) == 1
    assert aws.lines == [
        {"__operation": "CANARY", "__sequence_number": "0" * 40, "__canary_id": canary["id"]} for canary in canaries
    ]
    assert aws.hash_keys == [canary["hash_key"] for canary in canaries]
    aws.failing = "AccessDeniedException"
    with pytest.raises(NotReadyError, match=r"did not take 2 of 2 canaries: AccessDenied"):
        send_canaries(forwarder(aws), "RECEIPTS", "kinesis", canaries, minute)


def test_canaries_use_a_delivery_that_the_settings_do_not_name_yet() -> None:
    """It is proven before any change goes there; the settings are read all the same, since changes need them."""
    aws = Aws()
    canaries = [{"id": "run/0", "hash_key": ""}]
    sent = send_canaries(forwarder(aws), "RECEIPTS", "direct", canaries, minute)
    assert sent == {"stream": "dynalake-dev.direct-RECEIPTS"}
    assert [line["__canary_id"] for line in aws.lines] == ["run/0"]
    assert aws.reads == 1


def test_lone_surrogates_and_control_characters_are_sent() -> None:
    lines, rejected = encode_batch([record(1, NewImage={"a\ud800": {"S": "\ud83d \x00 \n"}})])
    assert rejected == []
    assert lines[0].data.count(b"\n") == 1


def test_the_key_of_a_rejected_record_depends_on_its_content() -> None:
    first, _ = rejected_object(NAMES, Rejected(0, record(1), "why"))
    second, _ = rejected_object(NAMES, Rejected(5, record(1), "another reason"))
    third, _ = rejected_object(NAMES, Rejected(0, record(1, NewImage={}), "why"))
    assert first == second != third


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", "20190525"),
        ("America/New_York", "20190524"),
        # A runtime that does not know the zone still rejects the change.
        ("Mars/Olympus_Mons", "20190525"),
    ],
)
def test_a_rejected_change_is_under_its_day_in_the_time_zone_of_the_lake(zone: str, day: str) -> None:
    names = Lake("dev", "123456789012", "eu-west-1", prefix="lake/raw", time_zone=zone).table("RECEIPTS")
    key = rejected_object(names, Rejected(0, record(1), "why"))[0]
    assert key.startswith(f"lake/raw-errors/forwarder/RECEIPTS/dt={day}/1-")
