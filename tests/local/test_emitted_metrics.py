"""Metrics from a function's log and of S3's requests, and alarms that calculate with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.waiting import eventually

Client = Callable[[str], Any]

SOURCE = """
import json
def handler(event, context):
    directive = {"Namespace": "Tests", "Dimensions": [["Table"]], "Metrics": [{"Name": "Seen", "Unit": "Count"}]}
    print(json.dumps({"_aws": {"Timestamp": 0, "CloudWatchMetrics": [directive]}, "Table": event["name"], "Seen": 7}))
"""


def state(client: Client, name: str) -> str:
    return str(client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"])


def test_a_log_line_becomes_a_metric(client: Client, name: str, make_function: Any) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""
    client("lambda").invoke(FunctionName=make_function(name, SOURCE), Payload=f'{{"name": "{name}"}}'.encode())
    metrics = client("cloudwatch").list_metrics(Namespace="Tests", MetricName="Seen")["Metrics"]
    assert [{"Name": "Table", "Value": name}] in [metric["Dimensions"] for metric in metrics]


def test_puts_under_a_filter_are_counted_and_an_alarm_adds_them_up(client: Client, name: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/metrics-configurations.html"""
    template = """
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      BucketName: %s
      MetricsConfigurations:
        - {Id: one, Prefix: one/}
        - {Id: two, Prefix: two/}
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: %s
      Metrics:
        - {Id: sum, Expression: "FILL(one, 0) + 2 * FILL(two, 0)", ReturnData: true}
        - Id: one
          ReturnData: false
          MetricStat:
            Metric:
              Namespace: AWS/S3
              MetricName: PutRequests
              Dimensions: [{Name: BucketName, Value: %s}, {Name: FilterId, Value: one}]
            Stat: Sum
            Period: 300
        - Id: two
          ReturnData: false
          MetricStat:
            Metric:
              Namespace: AWS/S3
              MetricName: PutRequests
              Dimensions: [{Name: BucketName, Value: %s}, {Name: FilterId, Value: two}]
            Stat: Sum
            Period: 300
      EvaluationPeriods: 1
      Threshold: 2
      ComparisonOperator: GreaterThanThreshold
      TreatMissingData: notBreaching
"""
    client("cloudformation").create_stack(StackName=name, TemplateBody=template % (name, name, name, name))
    eventually(lambda: client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"])
    eventually(lambda: state(client, name) == "OK")
    client("s3").put_object(Bucket=name, Key="three/x", Body=b"")
    client("s3").put_object(Bucket=name, Key="one/x", Body=b"")
    client("s3").put_object(Bucket=name, Key="two/x", Body=b"")
    eventually(lambda: state(client, name) == "ALARM")
