"""DynamoDB's exports to S3, and the point-in-time recovery that they need.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.HowItWorks.html
"""

from __future__ import annotations

from infra.local.aws.dynamodb.exports import history, service


def install() -> None:
    """Record the changes of tables with point-in-time recovery; write exports as AWS does."""
    history.install()
    service.install()
