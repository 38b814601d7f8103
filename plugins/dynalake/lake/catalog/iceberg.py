"""Iceberg tables by pyiceberg: loaded, created, and changed by commits that never guess.

This module and `lake/catalog/manifests.py` alone use what pyiceberg does not promise publicly (`Transaction._stage` and
`_updates`, `Catalog._load_file_io` and `_delete_old_metadata`, `GlueCatalog._convert_glue_to_iceberg`), so its version
is pinned. pyiceberg only stages here. Its own reaction to a refused commit is harmful: it rebases and tries again, so
that a stale batch lands twice, or deletes the manifests of a commit whose answer was lost, which may be the current
snapshot's (https://github.com/apache/iceberg/issues/7151).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pyiceberg.catalog import ICEBERG, METADATA_LOCATION, TABLE_TYPE, Catalog
from pyiceberg.catalog.glue import GlueCatalog, _construct_table_input
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchIcebergTableError,
    NoSuchPropertyException,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat, ManifestContent, ManifestEntry, ManifestFile
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AssertCurrentSchemaId,
    AssertLastAssignedFieldId,
    AssertRefSnapshotId,
    AssertTableUUID,
    RemovePropertiesUpdate,
    RemoveSchemasUpdate,
    RemoveSnapshotRefUpdate,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import EMPTY_DICT, Properties, Record
from pyiceberg.types import PrimitiveType

from dynalake.aws.answers import code_of, tolerate
from dynalake.aws.clients import Clients
from dynalake.aws.refusals import AWS_ERRORS, explain, is_throttled
from dynalake.aws.s3 import Store
from dynalake.errors import CatalogError, ConflictError, DynalakeError, TerminalError, UnknownOutcomeError
from dynalake.lake.catalog.file_io import CopyFileIO, S3FileIO
from dynalake.lake.catalog.manifests import ReplaceFiles, RewriteManifests, list_data_manifests, plan_merge
from dynalake.names import Lake

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import TableTypeDef
    from pyarrow.parquet import FileMetaData

MAIN = "main"

TABLE_PROPERTIES: Mapping[str, str] = {
    "format-version": "2",
    # No retries by pyiceberg itself, should somebody commit with it.
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.metrics.default": "truncate(16)",
}
"""Properties of every new table of the lake. 100 versions of the metadata tell whether a lost commit has landed."""

_AT_ONCE, _FEW = 16, 4  # manifests that are read at the same time; fewer are read one after the other

_KEPT_IN_GLUE = ("Description", "Owner", "Retention")


@dataclass(frozen=True, eq=False)
class DataFile:
    """A data file of an Iceberg table: `path` is its `s3://` address, `partition` the value of the partition column."""

    iceberg: IcebergFile = field(repr=False)
    schema: Schema = field(repr=False)

    @property
    def path(self) -> str:
        return self.iceberg.file_path

    @property
    def partition(self) -> Any:
        return self.iceberg.partition[0]

    @property
    def rows(self) -> int:
        return self.iceberg.record_count

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.iceberg.file_size_in_bytes

    @property
    def folder(self) -> str:
        """Name behind `v=` in its path; '' where there is no such folder: another engine's file."""
        return folder_of(self.path)

    def bounds(self, column: str) -> tuple[Any, Any] | None:
        """Return bounds of a column, at or beyond its least and its greatest value; None where nothing is known.

        Nothing is known of a file without rows, another engine's without statistics, and a column that has another type
        since the file was written.
        """
        of = self.schema.find_field(column)
        low = (self.iceberg.lower_bounds or {}).get(of.field_id)
        high = (self.iceberg.upper_bounds or {}).get(of.field_id)
        if low is None or high is None or not isinstance(of.field_type, PrimitiveType):
            return None
        return from_bytes(of.field_type, low), from_bytes(of.field_type, high)

    def is_null(self, column: str) -> bool:
        """Return whether its statistics say that a column is null in all rows."""
        nulls = (self.iceberg.null_value_counts or {}).get(self.schema.find_field(column).field_id)
        return nulls == self.rows


def folder_of(path: str) -> str:
    """Return the name behind `v=` in the path of a file; '' where there is no such folder."""
    match = re.search(r"/v=([^/]+)/[^/]+$", path)
    return match.group(1) if match else ""


Folders = tuple[tuple[Any, str], ...]
"""Partition and folder; the folder is '' for another engine's files."""


@dataclass(frozen=True)
class News:
    """Other commits since a head was loaded. `deletes`: one of them brought delete files."""

    added: tuple[DataFile, ...]
    deletes: bool


class Head:
    """An Iceberg table as it stood when it was loaded. It never changes, and changes are planned on it.

    It can be pickled where its catalog's clients can: another process has the same head.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._listed: tuple[ManifestFile, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        table = self._table
        catalog = cast("_Catalog", table.catalog).of
        return IcebergCatalog.head, (catalog, self.name, table.metadata, table.metadata_location)

    @property
    def iceberg(self) -> Table:
        """pyiceberg's own table, for scans."""
        return self._table

    @property
    def name(self) -> str:
        return self._table.name()[-1]

    @property
    def uuid(self) -> str:
        return str(self._table.metadata.table_uuid)

    @property
    def location(self) -> str:
        return self._table.location()

    @property
    def metadata_location(self) -> str:
        return self._table.metadata_location

    @property
    def snapshot_id(self) -> int | None:
        """Id of the current snapshot; None where nothing was committed yet."""
        return None if (snapshot := self._table.metadata.current_snapshot()) is None else snapshot.snapshot_id

    @property
    def schema(self) -> Schema:
        return self._table.schema()

    @property
    def schema_id(self) -> int:
        return self._table.metadata.current_schema_id

    @property
    def last_column_id(self) -> int:
        return self._table.metadata.last_column_id

    @property
    def properties(self) -> Mapping[str, str]:
        return self._table.properties

    @property
    def tags(self) -> Mapping[str, int]:
        """Ids of the snapshots that have a name, by the name."""
        return {name: ref.snapshot_id for name, ref in self._table.metadata.refs.items() if name != MAIN}

    def schema_at(self, snapshot_id: int) -> Schema:
        """Return the schema that the table had at a snapshot that it still has."""
        snapshot = self._table.metadata.snapshot_by_id(snapshot_id)
        assert snapshot is not None
        return self.schema if snapshot.schema_id is None else self._table.schemas()[snapshot.schema_id]

    def files(self, partitions: Collection[Any] | None = None, since: Any = None) -> tuple[DataFile, ...]:
        """Return the live data files, also those without rows: of all partitions, or of these and from `since` on."""
        chosen = self._chooser(partitions, since)
        entries = self._entries(ManifestContent.DATA, chosen)
        return tuple(DataFile(e.data_file, self.schema) for e in entries if chosen is None or chosen(_value(e)))

    def files_since(self, moment: int) -> tuple[DataFile, ...]:
        """Return the live data files added at or after a moment (milliseconds); more where snapshots have expired.

        The time of a file whose snapshot has expired is not known any more; but the kept snapshots are later.
        """
        added_at: dict[int | None, int] = {}
        at = self._table.metadata.current_snapshot()
        while at is not None:
            added_at[at.snapshot_id] = at.timestamp_ms
            parent = at.parent_snapshot_id
            at = None if parent is None else self._table.metadata.snapshot_by_id(parent)
        oldest = min(added_at.values(), default=0)
        entries = self._entries(ManifestContent.DATA, None)
        late = (e for e in entries if added_at.get(e.snapshot_id, oldest) >= moment)
        return tuple(DataFile(e.data_file, self.schema) for e in late)

    def folders(self, since: Any, known: Mapping[str, Folders] | None = None) -> dict[str, Folders]:
        """Return manifest → partition and folder of each of its live files, of the partitions from `since` on.

        Manifests that lie wholly before are left out. `known` is what an earlier head returned for the same `since`: a
        manifest never changes, so only new ones are read.
        """
        chosen = self._chooser(None, since)
        known = known or {}
        manifests = [m for m in self._manifests() if m.content == ManifestContent.DATA and self._may_hold(m, chosen)]
        fresh = [m for m in manifests if m.manifest_path not in known]
        folders = {m.manifest_path: known[m.manifest_path] for m in manifests if m.manifest_path in known}
        for manifest, entries in zip(fresh, self._read(fresh), strict=True):
            files = (DataFile(e.data_file, self.schema) for e in entries if _value(e) >= since)
            folders[manifest.manifest_path] = tuple(sorted({(f.partition, f.folder) for f in files}))
        return folders

    def open(self, file: DataFile) -> BinaryIO:
        """Open a file. Of a large one, only the requested ranges are read."""
        io = self._table.io
        assert isinstance(io, S3FileIO)
        return io.open_data(file.path, file.size)

    def delete_files(self) -> tuple[IcebergFile, ...]:
        """Return the delete files, which others have written; dynalake writes none."""
        return tuple(e.data_file for e in self._entries(ManifestContent.DELETES, None))

    def news(self, before: Head) -> News:
        """Return what was committed since `before` was loaded; see `news_since`."""
        return self.news_since(before.uuid, before.snapshot_id)

    def news_since(self, uuid: str, snapshot_id: int | None) -> News:
        """Return what was committed since the table `uuid` had this current snapshot.

        Raises `ConflictError` where that is not known: another table, or the snapshots between are gone.
        """
        if self.uuid != uuid:
            raise _conflict(self.name, "was deleted and made again in the meantime")
        new = set()
        at = self.snapshot_id
        while at != snapshot_id:
            snapshot = None if at is None else self._table.metadata.snapshot_by_id(at)
            if snapshot is None:
                raise _conflict(self.name, "was rolled back, or the snapshots before its current one have expired")
            new.add(snapshot.snapshot_id)
            at = snapshot.parent_snapshot_id
        manifests = [m for m in self._manifests() if m.added_snapshot_id in new]
        deletes = any(m.content == ManifestContent.DELETES for m in manifests)
        read = self._read(m for m in manifests if m.content == ManifestContent.DATA)
        added = (DataFile(e.data_file, self.schema) for entries in read for e in entries if e.snapshot_id in new)
        return News(tuple(added), deletes)

    def data_file(self, path: str, partition: Any, footer: FileMetaData, size: int, schema: Schema) -> DataFile:
        """Return a new data file with its bounds, from its Parquet footer. `schema`: that of the commit to come."""
        statistics = data_file_statistics_from_parquet_metadata(
            footer,
            compute_statistics_plan(schema, dict(self.properties)),
            parquet_path_to_id_mapping(schema),
        )
        made = IcebergFile.from_args(
            content=DataFileContent.DATA,
            file_path=path,
            file_format=FileFormat.PARQUET,
            partition=Record(partition),
            file_size_in_bytes=size,
            sort_order_id=None,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )
        made.spec_id = self._table.metadata.default_spec_id  # `from_args` does not set it
        return DataFile(made, schema)

    def plan_merge(self) -> frozenset[str]:
        """Return the manifests that a commit should merge; empty where that would not save enough of them."""
        return plan_merge(list_data_manifests(self._manifests(), self.schema, self._table.specs()))

    def _manifests(self) -> tuple[ManifestFile, ...]:
        """Return the manifests of the current snapshot, listed once."""
        if self._listed is None:
            snapshot = self._table.metadata.current_snapshot()
            self._listed = () if snapshot is None else tuple(snapshot.manifests(self._table.io))
        return self._listed

    def _entries(self, content: ManifestContent, chosen: Callable[[Any], bool] | None) -> Iterator[ManifestEntry]:
        manifests = (m for m in self._manifests() if m.content == content and self._may_hold(m, chosen))
        return chain.from_iterable(self._read(manifests))

    def _read(self, manifests: Iterable[ManifestFile]) -> Iterator[list[ManifestEntry]]:
        """Yield the live entries of each manifest: of many at once, since each waits for S3."""
        manifests = list(manifests)

        def read(manifest: ManifestFile) -> list[ManifestEntry]:
            return manifest.fetch_manifest_entry(self._table.io, discard_deleted=True)

        if len(manifests) < _FEW:
            return map(read, manifests)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return iter(list(pool.map(read, manifests)))

    def _may_hold(self, manifest: ManifestFile, chosen: Callable[[Any], bool] | None) -> bool:
        """Return whether a manifest may have a chosen partition, by the range of its partitions."""
        if chosen is None or not manifest.partitions:
            return True
        summary = manifest.partitions[0]
        if summary.contains_null or summary.lower_bound is None or summary.upper_bound is None:
            return True
        of = self.schema.find_type(self._table.spec().fields[0].source_id)
        assert isinstance(of, PrimitiveType)
        return cast("_Chosen", chosen).within(from_bytes(of, summary.lower_bound), from_bytes(of, summary.upper_bound))

    @staticmethod
    def _chooser(partitions: Collection[Any] | None, since: Any) -> _Chosen | None:
        if partitions is None and since is None:
            return None
        return _Chosen(frozenset(partitions or ()), since)


@dataclass(frozen=True)
class _Chosen:
    values: frozenset[Any]
    since: Any

    def __call__(self, value: Any) -> bool:
        return value in self.values or (self.since is not None and value >= self.since)

    def within(self, low: Any, high: Any) -> bool:
        return any(low <= v <= high for v in self.values) or (self.since is not None and high >= self.since)


def _value(entry: ManifestEntry) -> Any:
    return entry.data_file.partition[0]


@dataclass(frozen=True)
class Change:
    """The content of one commit: files, properties and schema change together, and always make a snapshot.

    `drop` names properties that go. `note` is in the snapshot's summary, for people. `tag` gives snapshots a name,
    by which they stay and can be read, and `untag` takes names away. `reserve` is a schema whose field ids are never
    given to anything else from now on, though the table does not have it yet. `expire` are ids of snapshots and
    `drop_schemas` ids of schemas that go; `merge` are addresses of manifests to rewrite (`Head.plan_merge`), in a
    commit that removes no files. `named_after`: ids of snapshots at which the added files had no names yet, so that no
    commit up to then has brought them; where there are none, all live files are compared.
    """

    add: tuple[DataFile, ...] = ()
    remove: tuple[DataFile, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    schema: Schema | None = None
    note: Mapping[str, str] = field(default_factory=dict)
    tag: Mapping[str, int] = field(default_factory=dict)
    untag: tuple[str, ...] = ()
    reserve: Schema | None = None
    expire: tuple[int, ...] = ()
    drop_schemas: tuple[int, ...] = ()
    merge: frozenset[str] = frozenset()
    named_after: frozenset[int | None] = frozenset()

    def __post_init__(self) -> None:
        if self.merge and self.remove:
            raise AssertionError("A commit that merges manifests must not remove files")


class Refused(Exception):
    """The table has changed since the commit was planned: load it, check against it, and commit on that."""


class IcebergCatalog:
    """The Iceberg tables in one lake's Glue database."""

    def __init__(self, clients: Clients, lake: Lake) -> None:
        self._io = S3FileIO(Store(clients, lake.bucket))
        self.clients, self._lake, self._database = clients, lake, lake.database
        glue = GuardedGlue(clients.glue, clients.glue_once, self._read_metadata)
        self._catalog = _Catalog(self, lake.database, glue, self._io)

    def __reduce__(self) -> tuple[type[IcebergCatalog], tuple[Clients, Lake]]:
        return IcebergCatalog, (self.clients, self._lake)

    def head(self, name: str, metadata: TableMetadata, metadata_location: str) -> Head:
        """Return the table of metadata that was read before."""
        return Head(Table((self._database, name), metadata, metadata_location, self._io, self._catalog))

    def find(self, name: str) -> Head | None:
        """Return the table; None where Glue has none of that name. Raise `CatalogError` where it is not readable."""
        try:
            return self._head_of(self._catalog._get_glue_table(self._database, name))
        except NoSuchTableError:
            return None

    def latest(self, name: str) -> Head:
        """Return the table as this process has read or committed it last. Read it where it has not."""
        known = self._catalog.known.get(name)
        return self.load(name) if known is None else self.head(name, known.metadata, known.metadata_location)

    def load_if_changed(self, name: str, since: str) -> Head | None:
        """Return the table; None where its metadata is still the one at `since`, which then is not read.

        Raises `CatalogError` where there is no table.
        """
        try:
            entry = self._catalog._get_glue_table(self._database, name)
        except NoSuchTableError:
            raise self._missing(name) from None
        return None if _location_of(entry) == since else self._head_of(entry)

    def _head_of(self, entry: TableTypeDef) -> Head:
        name = entry["Name"]
        try:
            return Head(self._catalog._convert_glue_to_iceberg(entry))
        except (NoSuchIcebergTableError, NoSuchPropertyException, ValueError) as error:
            raise CatalogError(
                f"The Glue table {self._database}.{name} is no longer an Iceberg table: {error}",
                action="run dynalake_setup for the table, which repairs the entry",
                database=self._database,
                table=name,
            ) from error
        except FileNotFoundError as error:
            raise CatalogError(
                f"The Glue table {self._database}.{name} names metadata that is gone: {error}",
                action="restore that object (the bucket keeps versions), then run dynalake_setup for the table",
                database=self._database,
                table=name,
            ) from error

    def load(self, name: str) -> Head:
        """Return the table. Raise `CatalogError` where there is none."""
        head = self.find(name)
        if head is None:
            raise self._missing(name)
        return head

    def _missing(self, name: str) -> CatalogError:
        return CatalogError(
            f"There is no table {name} in the Glue database {self._database}",
            action="run dynalake_setup for the DynamoDB table",
            database=self._database,
            table=name,
        )

    def create(
        self, name: str, schema: Schema, location: str, partition_by: str, properties: Mapping[str, str]
    ) -> Head:
        """Return the table; make it with an empty snapshot where it is missing. A kill or another call loses nothing.

        `schema` has no nested columns except a map: pyiceberg gives the field ids, and they are read back from the
        table.
        """
        head = self.find(name)
        if head is None:
            source = schema.find_field(partition_by).field_id
            spec = PartitionSpec(PartitionField(source, PARTITION_FIELD_ID_START, IdentityTransform(), partition_by))
            with suppress(TableAlreadyExistsError):  # made by another run, or by a call whose answer was lost
                self._catalog.create_table(
                    (self._database, name), schema, location, spec, properties={**TABLE_PROPERTIES, **properties}
                )
            head = self.load(name)
        while head.snapshot_id is None:
            with suppress(Refused):
                self.commit(head, Change(note={"dynalake": "created"}))
            head = self.load(name)
        return head

    def register(self, name: str, metadata_location: str) -> Head:
        """Register that metadata under a name that Glue does not have, and return the table."""
        with suppress(TableAlreadyExistsError):
            self._catalog.register_table((self._database, name), metadata_location)
        return self.load(name)

    def read(self, name: str, metadata_location: str) -> Head:
        """Return the table of that metadata, not of Glue's entry. Raise `FileNotFoundError` where it is gone.

        Its files are read from the lake's bucket, also those of metadata that names another bucket: it may be a copy.
        """
        io = CopyFileIO(Store(self.clients, self._lake.bucket))
        metadata = FromInputFile.table_metadata(io.new_input(metadata_location))
        return Head(Table((self._database, name), metadata, metadata_location, io, self._catalog))

    def make_database(self) -> None:
        """Make the lake's Glue database where somebody has deleted it: its CloudFormation stack does not notice that.

        The same as in `infra/cloudformation/storage.yaml`.
        """
        try:
            self.clients.glue.get_database(Name=self._database)
        except Exception as error:
            if code_of(error) != "EntityNotFoundException":
                raise
            about = f"dynalake, environment {self._lake.environment}"
            with tolerate("AlreadyExistsException"):
                self.clients.glue.create_database(DatabaseInput={"Name": self._database, "Description": about})

    def restore(self, head: Head, instead_of: str = "") -> Head:
        """Bring back the table of that head, where its Glue entry is missing, or is no longer an Iceberg table.

        It also replaces an entry that names the metadata `instead_of`. An entry with other metadata was brought back by
        another run, or has that run's commits, and stays. What people wrote in the entry stays.
        """
        try:
            entry: Any = self.clients.glue.get_table(DatabaseName=self._database, Name=head.name)["Table"]
        except Exception as error:
            if code_of(error) != "EntityNotFoundException":
                raise
            return self.register(head.name, head.metadata_location)
        parameters = entry.get("Parameters", {})
        is_iceberg = parameters.get(TABLE_TYPE, "").lower() == ICEBERG
        if is_iceberg and parameters.get(METADATA_LOCATION, instead_of) not in (instead_of, head.metadata_location):
            return self.load(head.name)
        metadata = head.iceberg.metadata
        table: Any = _construct_table_input(
            head.name, head.metadata_location, metadata.properties, metadata, glue_table=entry
        )
        keep_annotations(entry, table)
        self.clients.glue.update_table(DatabaseName=self._database, TableInput=table, VersionId=entry["VersionId"])
        return self.load(head.name)

    def commit(self, head: Head, change: Change) -> Head:
        """Commit a change on exactly this head.

        Raises `Refused` where the table is not as `head` has it (nothing has happened, and only garbage collection may
        delete anything), `ConflictError` where a file to be removed is not live or one to be added is,
        `UnknownOutcomeError` where Glue's answer was lost and the change is not there yet: it may still land.
        """
        table = head.iceberg
        if change.add:
            added = {f.path for f in change.add}
            if live := added & {f.path for f in _may_be_live(head, change)}:
                raise _conflict(head.name, f"already has the file {min(live)}")
        updates = _stage(table, change)
        requirements: tuple[TableRequirement, ...] = (
            AssertTableUUID(uuid=table.metadata.table_uuid),
            AssertRefSnapshotId.model_validate({"ref": MAIN, "snapshot-id": head.snapshot_id}),
            AssertCurrentSchemaId.model_validate({"current-schema-id": head.schema_id}),
            AssertLastAssignedFieldId.model_validate({"last-assigned-field-id": head.last_column_id}),
        )
        try:
            answer = self._catalog.planned_on(table).commit_table(table, requirements, updates)
        except (CommitFailedException, NoSuchTableError) as error:
            raise Refused(str(error)) from error
        except ValueError as error:
            # Another engine may expire snapshots, or drop schemas, without making a snapshot.
            if change.expire or change.drop_schemas:
                raise Refused(str(error)) from error
            raise
        except AWS_ERRORS as error:
            raise _failed(head.name, error) from error
        with suppress(Exception):  # files that stay are collected later
            Catalog._delete_old_metadata(table.io, table.metadata, answer.metadata)
        landed = self.head(head.name, answer.metadata, answer.metadata_location)
        self._catalog.known[head.name] = landed.iceberg
        return landed

    def _read_metadata(self, location: str) -> dict[str, Any]:
        with self._io.new_input(location).open() as stream:
            return cast("dict[str, Any]", json.loads(stream.read()))


def _may_be_live(head: Head, change: Change) -> Iterable[DataFile]:
    """Return the live files among which an added one could be."""
    if not change.named_after:
        return head.files({f.partition for f in change.add})
    return (f for snapshot_id in change.named_after for f in head.news_since(head.uuid, snapshot_id).added)


class _Staging(Transaction):
    """Keeps the metadata of what is staged: pyiceberg copies all of it a dozen times for each commit."""

    _known: tuple[int, TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        if self._known is None or self._known[0] != len(self._updates):
            self._known = len(self._updates), super().table_metadata
        return self._known[1]


def _stage(table: Table, change: Change) -> tuple[TableUpdate, ...]:
    """Return the updates of a change, after writing its manifests."""
    transaction = _Staging(table)
    number = 1 + max(schema.schema_id for schema in table.metadata.schemas)  # pyiceberg takes one twice
    if change.reserve is not None:
        reserved = change.reserve.model_copy(update={"schema_id": number})
        transaction._stage(
            (AddSchemaUpdate(schema=reserved), RemoveSchemasUpdate.model_validate({"schema-ids": [number]}))
        )
    if change.schema is not None:
        schema = change.schema.model_copy(update={"schema_id": number})
        transaction._stage((AddSchemaUpdate(schema=schema), SetCurrentSchemaUpdate.model_validate({"schema-id": -1})))
    if change.drop:
        transaction._stage((RemovePropertiesUpdate(removals=list(change.drop)),))
    if change.properties:
        transaction._stage((SetPropertiesUpdate(updates=dict(change.properties)),))
    note = dict(change.note)
    if change.merge:
        RewriteManifests(transaction, table.io, change.merge, [new.iceberg for new in change.add], note).commit()
        return _stage_expiry(transaction, change)
    append = transaction.update_snapshot(snapshot_properties=note).fast_append
    try:
        with ReplaceFiles(transaction, table.io, note) if change.remove else append() as producer:
            for gone in change.remove:
                producer.delete_data_file(gone.iceberg)
            for new in change.add:
                producer.append_data_file(new.iceberg)
    except ValidationException as error:
        raise _conflict(table.name()[-1], f"does not have all files that were to be replaced: {error}") from error
    return _stage_expiry(transaction, change)


def _stage_expiry(transaction: Transaction, change: Change) -> tuple[TableUpdate, ...]:
    for name, snapshot_id in change.tag.items():
        of = {"ref-name": name, "type": "tag", "snapshot-id": snapshot_id}
        transaction._stage((SetSnapshotRefUpdate.model_validate(of),))
    for name in change.untag:
        if name in transaction.table_metadata.refs:
            transaction._stage((RemoveSnapshotRefUpdate.model_validate({"ref-name": name}),))
    if change.expire:
        transaction._stage((RemoveSnapshotsUpdate.model_validate({"snapshot-ids": list(change.expire)}),))
    if change.drop_schemas:
        transaction._stage((RemoveSchemasUpdate.model_validate({"schema-ids": list(change.drop_schemas)}),))
    return transaction._updates


def _conflict(name: str, what: str) -> ConflictError:
    return ConflictError(f"The table {name} {what}", action="plan again from the table as it is now", table=name)


def _failed(name: str, error: Exception) -> DynalakeError:
    explained = explain(error)
    if isinstance(explained, TerminalError):
        return explained
    return UnknownOutcomeError(
        f"Glue did not answer the commit of {name} ({error}), and the commit has not landed yet",
        action="run again: the next run finds the commit if it has landed by then",
        table=name,
    )


class _Catalog(GlueCatalog):
    """pyiceberg's catalog, with the lake's clients for Glue and S3.

    `known`: each table as it was read last. Metadata never changes in its place, so it is read once.
    """

    def __init__(self, of: IcebergCatalog, name: str, glue: GuardedGlue | PlannedGlue, io: FileIO) -> None:
        self.of = of
        self._dynalake_glue, self._dynalake_io = glue, io
        self.known: dict[str, Table] = {}
        super().__init__(name, client=cast("GlueClient", glue))

    def planned_on(self, table: Table) -> _Catalog:
        """Return a catalog whose commit is guarded by the version of Glue's entry that this table was read from.

        pyiceberg reads the entry again before each commit, only for that version.
        """
        database, name = table.name()
        entry = cast("GuardedGlue", self._dynalake_glue).find_entry(database, name)
        if entry is None or _location_of(entry) != table.metadata_location:
            return self  # another thread has read a later one
        planned = _Catalog(
            self.of, self.name, PlannedGlue(cast("GuardedGlue", self._dynalake_glue), entry), self._dynalake_io
        )
        planned.known = self.known
        return planned

    def _convert_glue_to_iceberg(self, glue_table: TableTypeDef) -> Table:
        known = self.known.get(glue_table["Name"])
        if known is None or _location_of(glue_table) != known.metadata_location:
            known = self.known[glue_table["Name"]] = super()._convert_glue_to_iceberg(glue_table)
        return Table(known.name(), known.metadata, known.metadata_location, self._dynalake_io, self)

    def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:
        return self._dynalake_io


def _location_of(entry: Mapping[str, Any]) -> str | None:
    """Return where the metadata of a Glue entry is; None where it is not an Iceberg table."""
    parameters = entry.get("Parameters", {})
    return parameters.get(METADATA_LOCATION) if parameters.get(TABLE_TYPE, "").lower() == ICEBERG else None


class GuardedGlue:
    """Glue's client for pyiceberg: it sends an update once, and looks a lost answer up.

    A client that repeats `UpdateTable` after its answer was lost is refused because of its own first call. pyiceberg
    takes that for another run's commit. This class also keeps what people wrote in the Glue entry, which pyiceberg
    would wipe: description, owner and comments. It sends the current schema's columns alone, since those of all schemas
    make the request too large.
    """

    def __init__(
        self, reading: GlueClient, once: GlueClient, read_metadata: Callable[[str], Mapping[str, Any]]
    ) -> None:
        self._reading, self._once, self._read_metadata = reading, once, read_metadata
        self._entries: dict[tuple[str, str], TableTypeDef] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reading, name)

    def get_database(self, **request: Any) -> Any:
        """Answer pyiceberg's question before each commit, whether the tables are in S3 Tables: they never are."""
        return {"Database": {"Name": request["Name"]}}

    def find_entry(self, database: str, name: str) -> TableTypeDef | None:
        """Return an entry as it was read last; None where it was not read."""
        return self._entries.get((database, name))

    def get_table(self, **request: Any) -> Any:
        answer = self._reading.get_table(**request)
        self._entries[request["DatabaseName"], request["Name"]] = answer["Table"]
        return {**answer, "Table": deepcopy(answer["Table"])}  # pyiceberg changes it to make an update

    def update_table(self, **request: Any) -> Any:
        table = request["TableInput"]
        name = request["DatabaseName"], table["Name"]
        entry = self._entries[name]
        if entry.get("VersionId") != request["VersionId"]:
            # pyiceberg passes the version that it has read. Since then another thread has read a later one.
            raise CommitFailedException(f"{name} has the version {entry.get('VersionId')}, not {request['VersionId']}")
        keep_annotations(entry, table)
        try:
            return self._once.update_table(**request)
        except AWS_ERRORS as error:
            if self._has_landed(name, table["Parameters"][METADATA_LOCATION]):
                return {}
            if _is_refusal(error):
                raise CommitFailedException(str(error)) from error
            raise

    def _has_landed(self, name: tuple[str, str], location: str) -> bool:
        database, table = name
        current = self.get_table(DatabaseName=database, Name=table)["Table"]["Parameters"][METADATA_LOCATION]
        log = () if current == location else self._read_metadata(current).get("metadata-log", ())
        return current == location or any(entry["metadata-file"] == location for entry in log)


class PlannedGlue:
    """Glue's client for one commit: it answers with the entry that the commit was planned on."""

    def __init__(self, glue: GuardedGlue, entry: TableTypeDef) -> None:
        self._glue, self._entry = glue, entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._glue, name)

    def get_table(self, **request: Any) -> Any:
        return {"Table": deepcopy(self._entry)}


def _is_refusal(error: Exception) -> bool:
    """Return whether Glue says that it changed nothing: another commit came first, or there were too many calls."""
    return code_of(error) == "ConcurrentModificationException" or is_throttled(error)


def keep_annotations(entry: Mapping[str, Any], table: dict[str, Any]) -> None:
    """Put into the table input what people wrote in the Glue entry, and leave out columns of older schemas.

    Comments up to 255 characters: https://docs.aws.amazon.com/glue/latest/webapi/API_Column.html
    """
    for key in _KEPT_IN_GLUE:
        if entry.get(key) is not None:
            table[key] = entry[key]
    storage = table["StorageDescriptor"]
    comments = {c["Name"]: c["Comment"] for c in entry["StorageDescriptor"].get("Columns", ()) if c.get("Comment")}
    current = [c for c in storage["Columns"] if c.get("Parameters", {}).get("iceberg.field.current") == "true"]
    storage["Columns"] = [{**c, "Comment": comments[c["Name"]]} if c["Name"] in comments else c for c in current]
