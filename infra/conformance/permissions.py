"""Experiments on the rights that AWS requires, where its documentation leaves them open."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from infra.conformance.base import kinesis_stream
from infra.conformance.experiment import Seen, experiment
from infra.conformance.place import Place, RefusedError, allow

CHANGE_SETS = "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudformation.html"
KINESIS = "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonkinesis.html"
# CloudFormation calls no other service for this resource.
NOTHING = json.dumps({"Resources": {"Nothing": {"Type": "AWS::CloudFormation::WaitConditionHandle"}}})


def _request(place: Place, name: str) -> dict[str, Any]:
    stack = place.stack_name(name)
    return {"StackName": stack, "ChangeSetName": name, "ChangeSetType": "CREATE", "TemplateBody": NOTHING}


def _stacks(place: Place, name: str) -> str:
    return place.arn("cloudformation", f"stack/{place.stack_name(name)}/*")


@experiment(
    asks="Is cloudformation:TagResource needed to create a change set with tags?",
    documented="The action exists for stacks and change sets; no page says that CreateChangeSet with Tags needs it.",
    page=CHANGE_SETS,
    local="refused",
    matters="The DAGs' role: the first task that plans a stack.",
)
def change_set_tags(place: Place) -> Seen:
    name = "change-set-tags"
    caller = place.assume(place.base["Caller"], allow(["cloudformation:CreateChangeSet"], _stacks(place, name)))
    stacks = caller("cloudformation")
    return Seen(place.permits(lambda: stacks.create_change_set(**_request(place, name), Tags=place.tags)))


@experiment(
    asks="Do rights on the stack alone allow ExecuteChangeSet by the change set's ARN?",
    documented="Its resource is the stack; a report of 2017 says that by ARN AWS requires the change set.",
    page=CHANGE_SETS,
    local="refused",
    matters="The DAGs' role: every deployment executes its change set by ARN.",
)
def change_set_by_arn(place: Place) -> Seen:
    name, own = "change-set-by-arn", place.client("cloudformation")
    arn = own.create_change_set(**_request(place, name), Tags=place.tags)["Id"]
    place.until(
        lambda: own.describe_change_set(ChangeSetName=arn)["Status"], lambda status: status.endswith("COMPLETE")
    )
    stacks = place.assume(place.base["Caller"], allow(["cloudformation:ExecuteChangeSet"], _stacks(place, name)))
    execute = stacks("cloudformation").execute_change_set
    return Seen(place.permits(lambda: execute(ChangeSetName=arn, StackName=place.stack_name(name))))


@experiment(
    asks="Does CloudFormation create a bucket with tags without s3:TagResource?",
    documented="You must have the s3:TagResource permission to create a general purpose bucket with tags.",
    page="https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html",
    local="refused",
    matters="The role that deploys the storage stack.",
)
def bucket_tags(place: Place) -> Seen:
    try:
        maker = place.arn("iam", f"role/{place.base['Maker']}")
        place.stack("bucket-tags", {"Bucket": {"Type": "AWS::S3::Bucket"}}, RoleARN=maker)
    except RefusedError as error:
        return Seen("refused", str(error))
    return Seen("created")


@experiment(
    asks="Do rights on the stream allow UpdateShardCount, or only rights on all resources?",
    documented="It has no resource type, so it needs Resource *; the same is true of UpdateStreamMode and others.",
    page=KINESIS,
    local="refused",
    matters="The role that deploys a table's stack when its shards change.",
)
def shard_count(place: Place) -> Seen:
    stream = place.stack("shard-count", {"Stream": kinesis_stream()})["Stream"]
    allowed = allow(["kinesis:UpdateShardCount"], place.arn("kinesis", f"stream/{stream}"))
    update = place.assume(place.base["Caller"], allowed)("kinesis").update_shard_count
    return Seen(place.permits(lambda: update(StreamName=stream, TargetShardCount=2, ScalingType="UNIFORM_SCALING")))


@experiment(
    asks="Does a permissions boundary without KMS block a role from a stream with AWS's own key (alias/aws/kinesis)?",
    documented="The key's policy allows all principals of the account through Kinesis; AWS does not say whether a "
    "boundary limits that.",
    page="https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html",
    local="PutRecord refused, GetRecords refused",
    matters="The boundary of the forwarder's and Firehose's roles: if it does, every canary fails.",
)
def boundary_and_kinesis_key(place: Place) -> Seen:
    stream = place.stack("boundary-and-kinesis-key", {"Stream": kinesis_stream()})["Stream"]
    kinesis, arn = place.assume(place.base["Bounded"])("kinesis"), place.arn("kinesis", f"stream/{stream}")
    put = place.permits(lambda: kinesis.put_record(StreamName=stream, Data=b"x", PartitionKey="x"))
    place.client("kinesis").put_record(StreamName=stream, Data=b"y", PartitionKey="y")

    def read() -> None:
        (shard,) = place.client("kinesis").list_shards(StreamARN=arn)["Shards"]
        start = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(StreamARN=arn, **start)["ShardIterator"]
        kinesis.get_records(StreamARN=arn, ShardIterator=iterator)

    return Seen(f"PutRecord {put}, GetRecords {place.permits(read)}")


@experiment(
    asks="Which calls of the lake's own roles did AWS refuse, according to CloudTrail?",
    documented="CloudFormation lists the calls that it may make for each resource type, but not those that it makes.",
    page="https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html",
    local="nothing",
    matters="The roles of airflow.yaml and of the stacks.",
    last=True,
)
def refused_calls(place: Place) -> Seen:
    began = datetime.now(UTC) - timedelta(hours=2)
    place.wait(600)  # the longest delay of an event
    pages = place.client("cloudtrail").get_paginator("lookup_events").paginate(StartTime=began)
    refused: Counter[str] = Counter()
    for page in islice(pages, 400):
        for entry in page["Events"]:
            event = json.loads(entry["CloudTrailEvent"])
            issuer = event.get("userIdentity", {}).get("sessionContext", {}).get("sessionIssuer", {})
            role, code = issuer.get("userName", ""), event.get("errorCode", "")
            if role.startswith(place.lake.stack_prefix) and ("AccessDenied" in code or "Unauthorized" in code):
                short = role.removeprefix(f"{place.lake.stack_prefix}-").rpartition("-")[0]
                refused[f"{event['eventName']} to {short}"] += 1
    # The experiments cause the refusals of the base roles.
    calls = {name: count for name, count in refused.items() if " to base-" not in name}
    return Seen(", ".join(sorted(calls)) or "nothing", ", ".join(f"{name}: {count}" for name, count in calls.items()))
