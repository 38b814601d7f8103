"""The alarms on streams that nobody reads, which are to tell somebody only while the streams are to be read.

What they watch is missing by design before a table's mapping is enabled, and from the beginning of its teardown on. A
template can say so for the first (`MappingEnabled`); a teardown changes the mapping without it.
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
