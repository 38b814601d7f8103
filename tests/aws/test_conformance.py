"""A conformance run's resources are found by their tag and removed, and nothing else; missing rights are recognized."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import boto3
import pytest

from infra.conformance.base import body, kinesis_stream, make_base, objects, table
from infra.conformance.experiment import FAILED, Experiment, Seen, carry_out
from infra.conformance.leftovers import find_leftovers, remove
from infra.conformance.permissions import NOTHING
from infra.conformance.place import Place, RefusedError, allow
from infra.local.run.process import LocalAws


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(tmp_path_factory.mktemp("conformance") / "server.log", auth=True) as aws:
        yield aws


def make_place(aws: LocalAws, environment: str) -> Place:
    session: Any = boto3.Session(aws.key, aws.key, region_name="us-east-1")
    return Place(session, environment, aws.env(), endpoint_url=aws.endpoint_url, time_scale=aws.time_scale)


def test_a_later_run_removes_what_an_earlier_one_left_behind(aws: LocalAws) -> None:
    """Stacks, also one that has only a change set, and full buckets; untagged resources stay."""
    earlier, later = make_place(aws, "conformance-aaaa"), make_place(aws, "conformance-bbbb")
    make_base(earlier)
    earlier.stack("storage", {"Stream": kinesis_stream()})
    earlier.stack("some-experiment", {"Table": table()})
    stacks, s3 = earlier.client("cloudformation"), earlier.client("s3")
    stacks.create_change_set(
        StackName=earlier.stack_name("change-set"), ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=NOTHING
    )
    # A lake's bucket stays when its stack goes.
    retained = {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Retain",
        "Properties": {"BucketName": earlier.lake.bucket},
    }
    earlier.stack("kept", {"Bucket": retained})
    for bucket in (earlier.lake.bucket, earlier.base["Bucket"]):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for content in (b"1", b"2"):
            s3.put_object(Bucket=bucket, Key="an/object", Body=content)
        s3.delete_object(Bucket=bucket, Key="an/object")
    s3.create_bucket(Bucket="dynalake-conformance-of-somebody-else")
    stacks.create_stack(StackName="dynalake-prod-storage", TemplateBody=NOTHING)

    leftovers = find_leftovers(later)
    assert {name.rpartition("--")[2] for name in leftovers.stacks} == {
        "aaaa-base", "aaaa-storage", "aaaa-some-experiment", "aaaa-change-set", "aaaa-kept",
    }  # fmt: skip
    assert [name.rpartition("-")[2] for name in leftovers.stacks][-2:] == ["storage", "base"]
    assert set(leftovers.buckets) >= {earlier.lake.bucket, earlier.base["Bucket"]}
    assert remove(later, lambda line: None) == []
    assert not find_leftovers(later)
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["dynalake-conformance-of-somebody-else"]
    assert stacks.describe_stacks(StackName="dynalake-prod-storage")["Stacks"]


def test_missing_rights_are_distinguished_from_granted_ones(aws: LocalAws) -> None:
    """A session may do only what both its role and its own policy allow.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session
    """
    place = make_place(aws, "conformance-cccc")
    try:
        make_base(place)
        files = place.arn("s3", f"{place.base['Bucket']}/one/*")
        s3 = place.assume(place.base["Caller"], allow(["s3:PutObject"], files))("s3")
        for key, answer in (("one/1", "allowed"), ("two/1", "refused")):
            put = partial(s3.put_object, Bucket=place.base["Bucket"], Key=key, Body=b"x")
            assert place.permits(put) == answer
        # Also the rights that CloudFormation needs in addition to the call itself.
        nothing = {"TemplateBody": NOTHING, "ChangeSetType": "CREATE", "Tags": place.tags}
        for name, actions in (("refused", ["CreateChangeSet"]), ("allowed", ["CreateChangeSet", "TagResource"])):
            allowed = allow([f"cloudformation:{action}" for action in actions])
            stacks = place.assume(place.base["Caller"], allowed)("cloudformation")
            create = partial(stacks.create_change_set, StackName=place.stack_name(name), ChangeSetName=name, **nothing)
            assert place.permits(create) == name
        with pytest.raises(RefusedError, match="Function not found"):
            place.stack("mapping", {"Mapping": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": {
                "EventSourceArn": place.arn("dynamodb", "table/gone/stream/x"), "FunctionName": "gone",
            }}})  # fmt: skip
        assert objects(place, "none/") == []
        assert [body(place, entry["Key"]) for entry in objects(place, "one/")] == [b"x"]
    finally:
        assert remove(place, lambda line: None) == []


def test_an_experiment_that_fails_is_an_outcome(aws: LocalAws) -> None:
    place = make_place(aws, "conformance-dddd")

    def run(place: Place) -> Seen:
        place.stop()
        place.wait(1)
        raise AssertionError("it goes on after it was stopped")

    stopped = carry_out(Experiment("name", "", "", "", "allowed", "", run, False), place)
    assert (stopped.answer, stopped.detail, stopped.as_local) == (FAILED, "it was stopped", False)
    place.go_on()
    failing = Experiment("name", "", "", "", "allowed", "", lambda place: Seen(place.base["nothing"]), False)
    assert carry_out(failing, place).detail == "KeyError: 'nothing'"
