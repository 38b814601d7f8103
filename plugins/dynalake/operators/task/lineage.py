"""What a task reads and writes, as OpenLineage datasets: for Marquez, DataHub and others.

Airflow's OpenLineage provider, where it is installed and has a transport, sends the start and the end of each task, but
does not know what our tasks read and write. They say it through the provider's public API, which it has since 2.16.

Datasets have the names of https://openlineage.io/docs/spec/naming. An Iceberg table is named by its location, and its
entry in Glue is another name of it: so does the integration of Spark. The specification names no table of DynamoDB: its
ARN is cut where the one of a table in Glue is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import schema_dataset
    from openlineage.client.naming.dataset import AWSGlue

    from dynalake.lake.catalog.commit_events import CommitEvent
    from dynalake.lake.catalog.iceberg import Head
    from dynalake.lake.catalog.table import Table
    from dynalake.names import TableNames

logger = logging.getLogger(__name__)


def emit_landed(table: Table) -> None:
    """Say that the task, or the pipeline that it has proven, reads the DynamoDB table and writes the raw objects."""
    _emit(lambda: ([_source(table)], [_raw(table)]))


def emit_committed(table: Table, events: Iterable[CommitEvent]) -> None:
    """Say what the task's commits have read and written, with schemas, snapshots, rows, bytes and files."""
    _emit(lambda: _committed(table, events))


def _emit(describe: Callable[[], tuple[list[Dataset], list[Dataset]]]) -> None:
    """Send the inputs and the outputs of the running task, which never fails because of it."""
    try:
        from airflow.providers.openlineage.api import emit_dataset_lineage, is_openlineage_active
    except ImportError:
        return
    if not is_openlineage_active():
        return
    try:
        inputs, outputs = describe()
        if outputs:
            emit_dataset_lineage(inputs=[*inputs], outputs=[*outputs], raise_on_error=True)
    except Exception:
        logger.warning("What the task reads and writes could not be sent to OpenLineage", exc_info=True)


def _committed(table: Table, events: Iterable[CommitEvent]) -> tuple[list[Dataset], list[Dataset]]:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    inputs: dict[_Describe, Dataset] = {}
    outputs: dict[_Describe, Dataset] = {}
    for event in events:
        read, (written, *others) = _FLOWS[event.kind]
        inputs[read] = read(table)
        outputs |= {other: other(table) for other in others}
        amounts = statistics.OutputStatisticsOutputDatasetFacet(event.rows, event.bytes, event.files)
        to = written(table)
        outputs[written] = OutputDataset(to.namespace, to.name, {"outputStatistics": amounts}, facets=to.facets)
    return [*inputs.values()], [*outputs.values()]


def _source(table: Table) -> Dataset:
    from openlineage.client.event_v2 import Dataset

    lake = table.names.lake
    return Dataset(f"arn:aws:dynamodb:{lake.region}:{lake.account}", f"table/{table.names.table}")


def _raw(table: Table) -> Dataset:
    from openlineage.client.event_v2 import Dataset

    return Dataset(f"s3://{table.names.lake.bucket}", table.names.raw_prefix.rstrip("/"))


def _changes(table: Table) -> Dataset:
    return _iceberg(table.names, table.changes())


def _state(table: Table) -> Dataset:
    return _iceberg(table.names, table.items())


def _parquet(table: Table) -> Dataset:
    from openlineage.client.event_v2 import Dataset

    name = _glue(table.names, table.names.parquet_table)
    return Dataset(name.get_namespace(), name.get_name(), facets={"schema": _schema(table.changes())})


def _iceberg(names: TableNames, head: Head) -> Dataset:
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import dataset_version_dataset, storage_dataset, symlinks_dataset

    bucket, _, key = head.location.removeprefix("s3://").partition("/")
    glue = _glue(names, head.name)
    entry = symlinks_dataset.Identifier(glue.get_namespace(), glue.get_name(), "TABLE")
    return Dataset(
        f"s3://{bucket}",
        key,
        facets={
            "schema": _schema(head),
            "storage": storage_dataset.StorageDatasetFacet("iceberg", "parquet"),
            "symlinks": symlinks_dataset.SymlinksDatasetFacet([entry]),
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(str(head.snapshot_id)),
        },
    )


def _schema(head: Head) -> schema_dataset.SchemaDatasetFacet:
    from openlineage.client.facet_v2 import schema_dataset

    from dynalake.lake.current.views import glue_type

    return schema_dataset.SchemaDatasetFacet(
        [schema_dataset.SchemaDatasetFacetFields(f.name, glue_type(f.field_type)) for f in head.schema.fields]
    )


def _glue(names: TableNames, table: str) -> AWSGlue:
    from openlineage.client.naming.dataset import AWSGlue

    return AWSGlue(names.lake.region, names.lake.account, names.lake.database, table)


_Describe = Callable[["Table"], "Dataset"]

_FLOWS: dict[str, tuple[_Describe, tuple[_Describe, ...]]] = {
    "commit": (_raw, (_changes,)),
    "snapshot": (_raw, (_changes, _state)),
    "day": (_changes, (_changes, _parquet)),
    "fold": (_changes, (_state,)),
}
"""What commits of a kind read, and what they write: the first of these in the amounts of their events."""
