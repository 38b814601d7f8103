"""Triggers for the triggerer. Imported when a task defers, because the provider's triggers import boto3."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from airflow.providers.amazon.aws.triggers.base import AwsBaseWaiterTrigger


class ExportTrigger(AwsBaseWaiterTrigger):
    """Fires when an export is no longer in progress: the provider's `export_table` waiter in the triggerer."""

    def __init__(
        self,
        export_arn: str,
        waiter_delay: int,
        waiter_max_attempts: int,
        aws_conn_id: str,
        region_name: str,
    ) -> None:
        super().__init__(
            serialized_fields={"export_arn": export_arn},
            waiter_name="export_table",
            waiter_args={"ExportArn": export_arn},
            failure_message="DynamoDB's export failed",
            status_message="DynamoDB's export is",
            status_queries=["ExportDescription.ExportStatus"],
            return_value=export_arn,
            waiter_delay=waiter_delay,
            waiter_max_attempts=waiter_max_attempts,
            aws_conn_id=aws_conn_id,
            region_name=region_name,
        )

    def hook(self) -> AwsGenericHook[Any]:
        # The provider's DynamoDBHook uses a resource, which has no asynchronous client.
        return AwsGenericHook(aws_conn_id=self.aws_conn_id, region_name=self.region_name, client_type="dynamodb")
