"""Which earlier days a day has to be compared with, because changes of it may have come there first.

Only a *straggler* can have come before: a record that was made before its own day began. A manifest says which days its
stragglers were looked for in, and what these were made from; where an earlier day comes to be made from something else,
the day is converted again. What an earlier day has dropped itself is on a day before it, which is looked at as well: so
it does not matter in which order, or how often, days are converted (`docs/adr/0008-repeats-on-a-later-day.md`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dynalake.catalog.partitions import Partition, list_partitions
from dynalake.catalog.views import Watermark
from dynalake.clients import Clients
from dynalake.compact.manifest import Manifest, read_manifest
from dynalake.compact.plan import INPUTS, MANIFEST
from dynalake.convert.read.raw import RawObject
from dynalake.convert.rows.minutes import MINUTE
from dynalake.days import MARGIN, SNAPSHOT_DAY, day_of, made_before
from dynalake.names import Lake, TableNames

LOOKED = "dynalake.looked"
"""The parameter of a published partition with the days that it was compared with, and what these were made from."""

ORIGIN = "dynalake.origin"
"""The parameter that holds what its changes follow from: `Manifest.origin`."""

VERSION = "dynalake.version"
"""The parameter that holds the version's digest."""


@dataclass(frozen=True)
class Look:
    """Where a day's stragglers are looked for: those made before `until` (milliseconds), in these `minutes`."""

    since: str = ""
    until: int = 0
    minutes: tuple[int, ...] = ()
    earlier: tuple[Manifest, ...] = ()

    @property
    def looked(self) -> dict[str, str]:
        """Day → what its changes follow from."""
        return {m.day: m.origin for m in self.earlier}


def plan_look(lake: Lake, day: str, minutes: Iterable[int]) -> Look:
    """What the minutes in which a day's records were made ask for; the snapshot has no stragglers."""
    until = 0 if day == SNAPSHOT_DAY else made_before(day, lake.zone)
    made = tuple(sorted(minute for minute in minutes if minute * MINUTE < until))
    if not made:
        return Look()
    oldest = datetime.fromtimestamp(max(0, made[0] * MINUTE) / 1000, UTC) - MARGIN
    return Look(day_of(oldest, lake.zone), until, made)


def origin(shown: Partition | None, inputs: str, names: TableNames, day: str, objects: Sequence[RawObject]) -> str:
    """What a day's changes follow from: the digest of its raw objects, or where they were restored that of the first.

    `shown`: the day as it is published.
    """
    if shown is None:
        return inputs
    same = shown.parameters.get(INPUTS) == inputs or are_restored(names, shown, day, objects)
    return _origin(shown) if same else inputs


def are_restored(names: TableNames, shown: Partition, day: str, objects: Sequence[RawObject]) -> bool:
    """Whether a day's raw objects are those that were written from the version that is shown, and no others."""
    prefix = names.restored(day, shown.parameters.get(VERSION, ""))
    return len(objects) > 0 and all(o.key.startswith(prefix) for o in objects)


def plan_outdated(manifests: Mapping[str, Manifest], published: Mapping[str, Partition]) -> tuple[str, ...]:
    """The days that were compared with other changes than will be shown once these conversions are published."""
    origins = {day: _origin(partition) for day, partition in published.items()}
    origins |= {day: m.origin for day, m in manifests.items()}
    looks = {day: json.loads(p.parameters[LOOKED]) for day, p in published.items() if LOOKED in p.parameters}
    looks |= {day: [m.since, m.looked] for day, m in manifests.items()}
    return tuple(
        sorted(
            day
            for day, (since, looked) in looks.items()
            if since and any(looked.get(e) != found for e, found in origins.items() if since <= e < day)
        )
    )


def plan_since(manifests: Mapping[str, Manifest], published: Mapping[str, Partition], through: str) -> str:
    """The first day that a day behind `through` was compared with, as it is published or will be; '' for none."""
    looks = [(day, json.loads(p.parameters[LOOKED])[0]) for day, p in published.items() if LOOKED in p.parameters]
    looks += [(day, m.since) for day, m in manifests.items()]
    return min((since for day, since in looks if day > through and since), default="")


def plan_together(moving: Mapping[str, Manifest], mark: Watermark) -> tuple[str, ...]:
    """The days that readers read from Parquet and must see change at once: a change may move from one to another."""
    shown = [day for day in sorted(moving) if day != SNAPSHOT_DAY and mark.covers(day)]
    pairs = [(e, day) for day in shown for e in shown if moving[day].since and moving[day].since <= e < day]
    return tuple(sorted({day for pair in pairs for day in pair}))


def _origin(shown: Partition) -> str:
    return shown.parameters.get(ORIGIN) or shown.parameters.get(INPUTS, "")


# -- the edge ------------------------------------------------------------------------------------------------------


def look_back(
    clients: Clients, names: TableNames, day: str, minutes: Iterable[int], beside: Iterable[Manifest]
) -> Look:
    """`plan_look`, and the earlier days as they are published, or will be together with this one (`beside`)."""
    look = plan_look(names.lake, day, minutes)
    if not look.since:
        return look
    found = {m.day: m for m in beside}
    for earlier, shown in list_partitions(clients, names, names.typed_table, look.since).items():
        if earlier < day and earlier not in found and MANIFEST in shown.parameters:
            found[earlier] = read_manifest(clients, names, shown.parameters[MANIFEST])
    return replace(look, earlier=tuple(m for e, m in sorted(found.items()) if look.since <= e < day))


def looks_up_to_date(clients: Clients, names: TableNames, manifest: Manifest, beside: Iterable[Manifest]) -> bool:
    """Whether a conversion was compared with what it would be compared with now."""
    if not manifest.since:
        return True
    published = list_partitions(clients, names, names.typed_table, manifest.since)
    now = {day: _origin(shown) for day, shown in published.items()} | {m.day: m.origin for m in beside}
    return {e: found for e, found in now.items() if manifest.since <= e < manifest.day} == manifest.looked
