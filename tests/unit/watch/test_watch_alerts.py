"""Messages about problems: one when a problem begins, one when a table is in order again, and nothing in between."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from dynalake.aws.clients import Clients
from dynalake.lake.working.findings import Finding
from dynalake.names import Lake
from dynalake.watch.alerts import Problem, plan_alert, problems_of, publish_alert
from dynalake.watch.judge import ALARMS, STATES, Targets, Verdict
from dynalake.watch.readings import Capture, Comparison, Doubt, Readings
from dynalake.watch.readings import Lake as Tables
from dynalake.watch.status import TableStatus

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATE = Verdict("late", "The oldest change in Firehose is 20 min old", "check the delivery's log group")
LOST = Verdict("lost", "Changes did not reach the lake", "repair the cause")
WAITS = Verdict("attention", "Kinesis throttled 5 records in the last hour", "raise shards")
FOUND = Verdict("attention", "a view is missing", "run dynalake_compact", finding="no-view")


def status(table: str, *verdicts: Verdict, at: datetime = NOW) -> TableStatus:
    states = [verdict.state for verdict in verdicts]
    state = max(states, key=STATES.index, default="ok")
    return TableStatus(table, state, verdicts, Targets(), Readings(at=round(at.timestamp() * 1000)))


def owned(table: str, owner: str, *verdicts: Verdict) -> TableStatus:
    known = status(table, *verdicts)
    return replace(known, readings=replace(known.readings, owner=owner))


def published(*statuses: TableStatus) -> dict[str, Sequence[Problem]]:
    return {s.table: sorted(problems_of(s, NOW)) for s in statuses}


def test_a_problem_is_published_when_it_begins_and_when_it_ends() -> None:
    begun = plan_alert("dev", {}, [status("ORDERS", LATE), status("RECEIPTS")], NOW)
    assert begun is not None
    assert begun.subject == "dynalake dev: ORDERS is late"
    assert begun.message.startswith(
        "late: ORDERS\n  The oldest change in Firehose is 20 min old\n  What to do: check the delivery's log group\n\n"
    )
    lasting = Verdict("late", "The oldest change in Firehose is 3 h old", LATE.action)
    assert plan_alert("dev", published(status("ORDERS", LATE)), [status("ORDERS", lasting)], NOW) is None
    ended = plan_alert("dev", published(status("ORDERS", LATE)), [status("ORDERS", WAITS)], NOW)
    assert ended is not None
    assert ended.subject == "dynalake dev: ORDERS in order again"
    assert ended.message.startswith("In order again: ORDERS\n\n")


def test_a_second_problem_and_a_finding_are_published_too() -> None:
    before = published(status("ORDERS", LATE))
    for new in (LOST, FOUND):
        alert = plan_alert("dev", before, [status("ORDERS", LATE, new)], NOW)
        assert alert is not None
        assert new.message in alert.message
        assert LATE.message not in alert.message
    # One that can wait comes and goes by itself, and one of two that ends leaves a table that still fails.
    assert plan_alert("dev", before, [status("ORDERS", LATE, WAITS)], NOW) is None
    assert plan_alert("dev", published(status("ORDERS", LATE, LOST)), [status("ORDERS", LOST)], NOW) is None
    assert plan_alert("dev", published(status("ORDERS", FOUND)), [status("ORDERS")], NOW) is None


def test_a_message_names_the_dags_of_its_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNALAKE_LAKES", '{"prod": {}, "staging": {}}')
    for environment, dag in (("prod", "dynalake_compact"), ("staging", "dynalake_compact_staging")):
        alert = plan_alert(environment, {}, [status("ORDERS", FOUND)], NOW)
        assert alert is not None
        assert f"What to do: run {dag}\n" in alert.message


def test_two_findings_with_the_same_advice_are_two_problems() -> None:
    other = Verdict("attention", "the view leaves out changes", FOUND.action, finding="view-ahead")
    assert plan_alert("dev", published(status("ORDERS", FOUND)), [status("ORDERS", FOUND, other)], NOW) is not None


def test_many_tables_with_one_problem_are_one_part_of_one_message() -> None:
    statuses = [status(f"T{number:03}", LATE) for number in range(500)]
    alert = plan_alert("dev", published(status("GONE", LATE), status("WELL", LOST)), [*statuses, status("WELL")], NOW)
    assert alert is not None
    assert alert.subject == "dynalake dev: 500 tables need attention, WELL in order again"
    assert "late: T000, T001, " in alert.message
    assert "T019 and 480 more\n  T000: The oldest change" in alert.message
    assert alert.message.count("What to do") == 1
    assert "GONE" not in alert.message, "a table that was removed"


def test_a_message_names_the_owners_of_its_tables() -> None:
    statuses = [owned("A", "checkout", LATE), owned("B", "", LATE), owned("C", "search"), owned("D", "billing", FOUND)]
    alert = plan_alert("dev", published(status("C", LOST), status("D", FOUND)), statuses, NOW)
    assert alert is not None
    assert "late: A (checkout), B\n" in alert.message
    assert "In order again: C (search)\n" in alert.message
    assert alert.owners == ("checkout", "search"), "not billing, which has heard of D"
    assert alert.attributes() == {"owner": {"DataType": "String.Array", "StringValue": '["checkout", "search"]'}}
    unowned = plan_alert("dev", {}, [status("B", LATE)], NOW)
    assert unowned is not None
    assert unowned.attributes() == {}


def test_the_worst_comes_first() -> None:
    alert = plan_alert("dev", {}, [status("A", LATE, FOUND), status("B", LOST)], NOW)
    assert alert is not None
    places = [alert.message.index(verdict.message) for verdict in (LOST, LATE, FOUND)]
    assert places == sorted(places)


def test_a_table_that_nobody_checks_is_a_problem() -> None:
    old = status("ORDERS", at=NOW - timedelta(minutes=31))
    alert = plan_alert("dev", {}, [old, status("RECEIPTS")], NOW)
    assert alert is not None
    assert alert.subject == "dynalake dev: ORDERS is not checked"


def test_a_table_whose_status_is_not_known_is_neither_late_nor_in_order(topic: Topic) -> None:
    """One that was never checked, or whose status cannot be read."""
    unknown = TableStatus("A", "new", (LOST,), Targets(), Readings(at=0))
    assert topic.publish(unknown) is None
    assert topic.publish(status("A", LATE)) is None
    assert topic.publish(unknown) is None
    assert topic.publish(status("A", LATE)) is None
    assert topic.received() == ["dynalake dev: A is late"]


def test_a_message_has_no_value_of_an_item() -> None:
    differing = (Doubt("secret@example.com", "image", 1, 1),)
    at = round(NOW.timestamp() * 1000)
    reading = Capture(state="Enabled")
    readings = Readings(at=at, hand_off=1, capture=reading, comparison=Comparison(at, 9, 8, differing=differing))
    judged = TableStatus.of("ORDERS", readings, Targets())
    assert "secret@example.com" in "".join(judged.lines())
    alert = plan_alert("dev", {}, [judged], NOW)
    assert alert is not None
    assert "1 of 9 compared items differ" in alert.message
    assert "secret" not in alert.message


def test_a_finding_of_a_night_is_published() -> None:
    finding = Finding("orphan-column", "t", "a column has no attribute", "run dynalake_compact")
    readings = Readings(at=round(NOW.timestamp() * 1000), hand_off=1, lake=Tables(findings=(finding,)))
    assert ("attention", "orphan-column", "run dynalake_compact") in problems_of(
        TableStatus.of("T", readings, Targets()), NOW
    )


verdicts = st.builds(
    Verdict, st.sampled_from(STATES), st.text(max_size=50), st.text(max_size=50), st.sampled_from(["", "no-view"])
)
names = st.text("aZ9_.-", min_size=3, max_size=255)
lakes = st.lists(st.builds(status, names, verdicts, verdicts), max_size=4)


@given(lakes, lakes, st.integers(1, 30))
def test_messages_fit_and_the_same_state_is_published_once(
    before: list[TableStatus], after: list[TableStatus], times: int
) -> None:
    many = [status(f"{s.table[:240]}-{n}", *s.verdicts) for s in after for n in range(times if s is after[0] else 1)]
    alert = plan_alert("abcdefghijklmnop", published(*before), many, NOW)
    if alert is not None:
        assert len(alert.subject) <= 100
        assert alert.subject.isascii()
        assert alert.subject.isprintable()
        assert len(alert.message.encode()) <= 256 * 1024
    unique = {s.table: s for s in many}.values()
    assert plan_alert("dev", published(*unique), unique, NOW) is None
    news = {v.state for s in unique for v in s.verdicts} & ALARMS
    if news and not before:
        assert alert is not None


def test_a_message_that_is_too_long_is_cut_between_problems() -> None:
    statuses = [status(f"T{n}", Verdict("late", "é" * 1000, f"do {n} " + "é" * 1000)) for n in range(100)]
    alert = plan_alert("dev", {}, statuses, NOW)
    assert alert is not None
    size = len(alert.message.encode())
    assert 200_000 < size <= 256 * 1024
    shown = alert.message.count("What to do")
    assert f"... and {100 - shown} more problems" in alert.message
    assert alert.message.endswith("in order again.")


class Topic:
    """A lake on moto whose topic goes to a queue."""

    def __init__(self) -> None:
        session = boto3.Session("k", "s", region_name="eu-west-1")
        self.sns, self.sqs = session.client("sns"), session.client("sqs")
        self.lake = Lake("dev", "123456789012", "eu-west-1")
        services: dict[str, Any] = {name: session.client(name) for name in ("s3", "ssm", "sns")}
        self.clients = Clients(lambda service: services[service])
        services["s3"].create_bucket(
            Bucket=self.lake.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        self.queue = self.sqs.create_queue(QueueName="mail")["QueueUrl"]
        self.make()
        self.name({"bucket": self.lake.bucket, "topic_arn": self.arn})

    def make(self) -> None:
        self.arn = self.sns.create_topic(Name="dynalake-dev-storage-Topic")["TopicArn"]
        queue = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]
        self.sns.subscribe(TopicArn=self.arn, Protocol="sqs", Endpoint=queue["QueueArn"])

    def name(self, values: dict[str, str]) -> None:
        self.clients.ssm.put_parameter(
            Name=self.lake.lake_parameter, Type="String", Value=json.dumps(values), Overwrite=True
        )

    def publish(self, *statuses: TableStatus) -> Exception | None:
        return publish_alert(self.clients, self.lake, statuses, NOW)

    def received(self) -> list[str]:
        """Return the subjects of the messages since the last call."""
        listed = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in listed:
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"])["Subject"] for message in listed]


@pytest.fixture
def topic() -> Iterator[Topic]:
    with mock_aws():
        yield Topic()


def test_each_change_is_sent_once(topic: Topic) -> None:
    for statuses, subjects in (
        ([status("A")], []),
        ([status("A", LATE)], ["dynalake dev: A is late"]),
        ([status("A", LATE)], []),
        ([status("A", LATE), status("B", LOST)], ["dynalake dev: B is lost"]),
        ([status("A"), status("B", LOST)], ["dynalake dev: A in order again"]),
        ([status("A"), status("B", LOST)], []),
    ):
        assert topic.publish(*statuses) is None
        assert topic.received() == subjects


def test_a_subscription_can_be_for_one_owner(topic: Topic) -> None:
    (subscription,) = topic.sns.list_subscriptions_by_topic(TopicArn=topic.arn)["Subscriptions"]
    topic.sns.set_subscription_attributes(
        SubscriptionArn=subscription["SubscriptionArn"],
        AttributeName="FilterPolicy",
        AttributeValue=json.dumps({"owner": ["checkout"]}),
    )
    for statuses, subjects in (
        ([status("A", LATE)], []),
        ([owned("B", "search", LATE)], []),
        ([owned("C", "checkout", LATE), owned("D", "search", LATE)], ["dynalake dev: 2 tables need attention"]),
    ):
        assert topic.publish(*statuses) is None
        assert topic.received() == subjects


def test_a_message_that_could_not_be_sent_is_in_the_next_one(topic: Topic) -> None:
    topic.sns.delete_topic(TopicArn=topic.arn)
    assert "(NotFound) when calling the Publish" in str(topic.publish(status("A", LATE)))
    topic.make()
    assert topic.publish(status("A", LATE), status("B", LOST)) is None
    assert topic.received() == ["dynalake dev: 2 tables need attention"]
    assert topic.publish(status("A", LATE), status("B", LOST)) is None
    assert topic.received() == []


def test_a_lake_whose_stack_names_no_topic_publishes_once_it_does(
    topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    topic.name({"bucket": topic.lake.bucket})
    caplog.set_level("INFO", logger="dynalake")
    assert topic.publish(status("A", LATE)) is None
    assert "run dynalake_setup" in caplog.text
    topic.name({"bucket": topic.lake.bucket, "topic_arn": topic.arn})
    assert topic.publish(status("A", LATE)) is None
    assert topic.received() == ["dynalake dev: A is late"]
