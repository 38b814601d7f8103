"""The alarms on streams that nobody reads, which are to tell somebody only while the streams are to be read.

What they watch is missing by design before a table's mapping reads, and from the beginning of its teardown on. An alarm
that is made is evaluated at once, and acts on what it finds; one whose actions are turned on acts when its state
changes. So the template makes them silent until it enables the mapping. A teardown, which disables it without the
template, silences them first; a setup arms them again.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

from dynalake.clients import Clients
from dynalake.names import TableNames


def arm_alarms(clients: Clients, names: TableNames) -> None:
    """Let the alarms tell, also where a teardown was begun and not finished."""
    clients.cloudwatch.enable_alarm_actions(AlarmNames=[*names.unread_alarms])


def silence_alarms(clients: Clients, names: TableNames) -> None:
    """Let them go off without telling anybody."""
    clients.cloudwatch.disable_alarm_actions(AlarmNames=[*names.unread_alarms])
