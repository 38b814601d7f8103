"""The alarms on unread streams. They should notify only while the streams should be read.

Their metrics are missing by design before a table's mapping reads, and once its teardown has begun. A new
alarm is evaluated at once, and acts on the result; one whose actions are turned on acts when its state changes. So the
template makes them silent until it enables the mapping. A teardown, which disables it without the template, silences
them first; a setup arms them again.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

from dynalake.lake.catalog.table import Table


def arm_alarms(table: Table) -> None:
    """Let the alarms notify, even after an unfinished teardown."""
    table.clients.cloudwatch.enable_alarm_actions(AlarmNames=[*table.names.unread_alarms])


def silence_alarms(table: Table) -> None:
    """Let the alarms go off without notifying anybody."""
    table.clients.cloudwatch.disable_alarm_actions(AlarmNames=[*table.names.unread_alarms])
