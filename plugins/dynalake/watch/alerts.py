"""What somebody should hear of: changes of the tables' problems, as one message of a run to the lake's topic.

Each problem is published once, and so is its end. A note of the lake holds what was published: a run compares the
tables with it, and publishes the difference. So what could not be published is in the next run's message.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dynalake.aws.clients import Clients
from dynalake.aws.refusals import AWS_ERRORS
from dynalake.aws.s3 import Store
from dynalake.capture.lake.registry import find_topic
from dynalake.names import Lake
from dynalake.options.lakes import name_dags
from dynalake.watch.judge import ALARMS, STATES, Verdict
from dynalake.watch.status import STALE_MINUTES, TableStatus

if TYPE_CHECKING:
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

logger = logging.getLogger(__name__)

SUBJECT_CHARACTERS, MESSAGE_BYTES = 100, 256 << 10
"""Limits of SNS: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""

_NAMES = 20  # tables that a problem names, at most
_NOT_CHECKED = "not checked"
_UNSEEN = Verdict(
    _NOT_CHECKED,
    f"dynalake_watch has not checked the table for {STALE_MINUTES} minutes: nothing is known of it",
    "find out why its task 'look' in dynalake_watch fails",
)
_ORDER = (*STATES, _NOT_CHECKED)
_END = (
    "\n\nThe page 'dynalake' in Airflow shows all tables. A problem is published once, when it begins, and once more "
    "when the table is in order again."
)

Problem = tuple[str, str, str]
"""A problem of a table, by what stays the same while it lasts: its state, its kind of finding, what to do."""

Published = Mapping[str, Sequence[Problem]]
"""The problems that were published, by table."""


@dataclass(frozen=True)
class Alert:
    """A message to the lake's topic. `owners`: those of the tables that it is about, without a repetition."""

    subject: str
    message: str
    owners: tuple[str, ...] = ()

    def attributes(self) -> dict[str, MessageAttributeValueTypeDef]:
        """Return the owners as what a subscription can be filtered by; SNS takes no empty list.

        https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html
        """
        value: MessageAttributeValueTypeDef = {"DataType": "String.Array", "StringValue": json.dumps(self.owners)}
        return {"owner": value} if self.owners else {}


def problems_of(status: TableStatus, now: datetime) -> dict[Problem, Verdict]:
    """Return what is wrong with a table: everything that somebody must act on now, and all findings. Pure.

    Other things that can wait are on the page: they come and go by themselves.
    """
    if status.is_stale(now):
        return {_problem(_UNSEEN): _UNSEEN}
    return {_problem(v): v for v in status.verdicts if v.state in ALARMS or v.finding}


def plan_alert(environment: str, published: Published, statuses: Iterable[TableStatus], now: datetime) -> Alert | None:
    """Return the message about what has changed since then; None where nothing has. Pure."""
    begun: dict[Problem, list[tuple[str, Verdict]]] = defaultdict(list)
    ended, owners = [], {}
    for status in filter(_is_known, statuses):
        problems, before = problems_of(status, now), published.get(status.table, ())
        new, is_over = problems.keys() - set(before), _is_failing(before) and not _is_failing(problems)
        for problem in new:
            begun[problem].append((status.table, problems[problem]))
        if is_over:
            ended.append(status.table)
        if (new or is_over) and status.readings.owner:
            owners[status.table] = status.readings.owner
    if not begun and not ended:
        return None
    worst_first = sorted(begun, key=lambda problem: (-_ORDER.index(problem[0]), -len(begun[problem]), problem))
    texts = [name_dags(_text(begun[problem], owners), environment) for problem in worst_first]
    if ended:
        texts.insert(0, f"In order again: {_names(ended, owners)}")
    tables = {table for listed in begun.values() for table, _ in listed}
    to = tuple(sorted(set(owners.values())))
    return Alert(_subject(environment, sorted(tables), ended, worst_first), _join(texts, len(json.dumps(to))), to)


def publish_alert(clients: Clients, lake: Lake, statuses: Sequence[TableStatus], now: datetime) -> Exception | None:
    """Publish what has changed since the last message, and note it. Return the error of AWS if that has failed.

    Nothing is published, or noted, where the lake has no topic: its stack is older than this.
    """
    store = Store(clients, lake.bucket)
    stored = store.read_json(lake.published_alerts)
    published = {} if stored is None else {t: [_as_problem(p) for p in ps] for t, ps in stored.value.items()}
    alert = plan_alert(lake.environment, published, statuses, now)
    if alert:
        topic = find_topic(clients, lake)
        if topic is None:
            logger.info(
                "Not published, because the lake's stack names no topic (run dynalake_setup): %s", alert.subject
            )
            return None
        try:
            clients.sns.publish(
                TopicArn=topic, Subject=alert.subject, Message=alert.message, MessageAttributes=alert.attributes()
            )
        except AWS_ERRORS as error:
            return error
        logger.info("Published to %s: %s", topic, alert.subject)
    unknown = {s.table: published[s.table] for s in statuses if not _is_known(s) and s.table in published}
    current = {**unknown, **{s.table: sorted(problems_of(s, now)) for s in filter(_is_known, statuses)}}
    if current != published:
        store.write_json(lake.published_alerts, current)
    return None


def _is_known(status: TableStatus) -> bool:
    """Return whether the table was ever checked: not a new one, nor one whose status cannot be read."""
    return status.readings.at > 0


def _problem(verdict: Verdict) -> Problem:
    return verdict.state, verdict.finding, verdict.action


def _as_problem(values: Sequence[str]) -> Problem:
    state, finding, action = values
    return state, finding, action


def _is_failing(problems: Iterable[Problem]) -> bool:
    return any(state in ALARMS or state == _NOT_CHECKED for state, _, _ in problems)


def _subject(environment: str, tables: Sequence[str], ended: Sequence[str], problems: Sequence[Problem]) -> str:
    if len(tables) == 1:
        begun = [f"{tables[0]} is {problems[0][0]}"]
    else:
        begun = [f"{len(tables):,} tables need attention"] if tables else []
    again = [f"{ended[0] if len(ended) == 1 else f'{len(ended):,} tables'} in order again"] if ended else []
    text = f"dynalake {environment}: {', '.join([*begun, *again])}"
    return text if len(text) <= SUBJECT_CHARACTERS else f"{text[: SUBJECT_CHARACTERS - 3]}..."


def _text(listed: Sequence[tuple[str, Verdict]], owners: Mapping[str, str]) -> str:
    """Return a problem's part of the message: the tables that have it, what is wrong with the first, what to do."""
    table, verdict = listed[0]
    example = f"{table}: " if len(listed) > 1 else ""
    lines = [f"{verdict.state}: {_names([name for name, _ in listed], owners)}"]
    lines.append(f"  {example}{verdict.mail or verdict.message}")
    if verdict.action:
        lines.append(f"  What to do: {verdict.action}")
    return "\n".join(lines)


def _names(tables: Sequence[str], owners: Mapping[str, str]) -> str:
    named = [f"{table} ({owners[table]})" if table in owners else table for table in tables[:_NAMES]]
    more = f" and {len(tables) - _NAMES:,} more" if len(tables) > _NAMES else ""
    return ", ".join(named) + more


def _join(texts: Sequence[str], attributes: int) -> str:
    """Return the message, without the last parts if it would be too long together with bytes of attributes."""
    left, shown = MESSAGE_BYTES - len(_END.encode()) - 100 - attributes, list[str]()
    for text in texts:
        left -= len(text.encode()) + 2
        if left < 0:
            break
        shown.append(text)
    cut = [f"... and {len(texts) - len(shown):,} more problems"] if len(shown) < len(texts) else []
    return "\n\n".join([*shown, *cut]) + _END
