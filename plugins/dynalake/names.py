"""Every name and path in the lake: built and parsed here, and nowhere else.

No two pairs of environment and table share a name, and most names look as one would expect. An environment may contain
a `-`, which also separates it from the rest of a name. So its own `-` is doubled in the names of stacks
(`dynalake-dev--prod-storage`) and becomes `_` in those of streams (`dynalake-dev_prod-RECEIPTS`). A table's name that
AWS does not allow there, that is too long, or that looks like a shortened one ends in a hash of the full name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, tzinfo

from dynalake.days import DEFAULT_TIME_ZONE, SNAPSHOT_DAY, check_day, day_of, find_zone
from dynalake.errors import SettingsError

ENVIRONMENT_PATTERN = r"[a-z][a-z0-9-]{0,15}"

DEFAULT_PREFIX = "dynamodb"
# S3's safe characters without those that have a meaning to Firehose (`!`) or Athena (names that start with `.` or `_`
# are hidden). https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
PREFIX_PATTERN = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*(/[a-zA-Z0-9][a-zA-Z0-9_.-]*)*"
PREFIX_LIMIT = 100
"""Characters of a prefix. A key has 1,024 bytes, of which a table's name, a run's id and a digest may take most."""

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
TABLE_PATTERN = r"[a-zA-Z0-9_.-]{3,255}"

HASH_DIGITS = 12
_LOOKS_SHORTENED = re.compile(rf"[-_][0-9a-f]{{{HASH_DIGITS}}}$")

STAGE_FORWARDER = "forwarder"
STAGE_DELIVERY = "delivery"
STAGE_CONVERT = "convert"
STAGE_MAPPING = "mapping"
"""Lambda's event source mapping: it puts batches that it gave up on under its own prefix (`Lake.failed_batches`)."""
STAGE_DONE = "done"
"""Changes that were rejected, and then replayed with success."""


def shorten(name: str, limit: int, *, not_allowed: str = r"[^a-zA-Z0-9_.-]", replacement: str = "-") -> str:
    """Return `name` unchanged if it fits; else with characters replaced or cut, and a hash that keeps it unique.

    The hash is 12 hexadecimal digits of SHA-256 over the full name, so the result is stable, and never equal for two
    names that differ only in the replaced or cut characters. A name that ends like a shortened one gets a hash too: so
    it cannot be equal to one.
    """
    cleaned = re.sub(not_allowed, replacement, name)
    if cleaned == name and len(name) <= limit and not _LOOKS_SHORTENED.search(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:HASH_DIGITS]
    return f"{cleaned[: limit - HASH_DIGITS - 1]}{replacement}{digest}"


# Prefixes next to the lake's in the bucket: Lambda's failed batches, Athena's results, the forwarder's code.
_FAILED, _QUERY_RESULTS, _CODE = "aws", "athena-results", "dynalake-code"
_RESERVED = (_FAILED, _QUERY_RESULTS, _CODE)

PREFIX_ALLOWED = (
    f"up to {PREFIX_LIMIT} letters, digits, '_', '.' and '-', with '/' between parts that begin with a letter or digit"
)


@dataclass(frozen=True)
class Lake:
    """One lake: an environment in an account and a region, and the bucket that holds its data.

    `bucket` is the default name unless the user brings a bucket. `prefix` is the root of the raw and the Parquet
    objects in it; rejected data and state are next to it, under `{prefix}-errors/` and `{prefix}-state/`. `time_zone`
    is the IANA name of the zone in which a `dt` is a day. `kms_key_arn` is the key of its bucket; empty for S3's own.
    """

    environment: str
    account: str
    region: str
    bucket: str = ""
    prefix: str = DEFAULT_PREFIX
    time_zone: str = DEFAULT_TIME_ZONE
    kms_key_arn: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(ENVIRONMENT_PATTERN, self.environment):
            raise SettingsError(
                f"environment is {self.environment!r}",
                allowed="1 to 16 characters: a lower-case letter, then lower-case letters, digits and '-'",
                action="trigger the DAG again with an environment such as 'dev' or 'prod'",
                environment=self.environment,
            )
        check_prefix(self.prefix)
        if not self.bucket:
            object.__setattr__(self, "bucket", f"dynalake-{self.environment}-{self.account}-{self.region}")

    @property
    def zone(self) -> tzinfo:
        """Time zone of the lake. Raises `SettingsError` where this machine does not know it."""
        return find_zone(self.time_zone)

    def day_of(self, moment: datetime) -> str:
        """Return the day of an aware datetime in the lake's time zone, as `dt` writes it."""
        return day_of(moment, self.zone)

    @property
    def database(self) -> str:
        """The Glue database."""
        return f"dynalake_{self.environment.replace('-', '_')}"

    @property
    def workgroup(self) -> str:
        """The Athena workgroup."""
        return f"dynalake-{self.environment}"

    @property
    def dashboard(self) -> str:
        """The CloudWatch dashboard."""
        return f"dynalake-{self.environment}"

    @property
    def stack_prefix(self) -> str:
        """Beginning of the names of the lake's stacks, before `-storage`, `-forwarder` and `-table-…`."""
        return f"dynalake-{self.environment.replace('-', '--')}"

    @property
    def stream_prefix(self) -> str:
        """Beginning of the names of the lake's Kinesis and Firehose streams, before `-{table}`."""
        return f"dynalake-{self.environment.replace('-', '_')}"

    @property
    def storage_stack(self) -> str:
        return f"{self.stack_prefix}-storage"

    @property
    def forwarder_stack(self) -> str:
        return f"{self.stack_prefix}-forwarder"

    @property
    def forwarder(self) -> str:
        """The Lambda function: 64 characters (Lambda CreateFunction, FunctionName)."""
        return f"dynalake-{self.environment}-forwarder"

    @property
    def lake_parameter(self) -> str:
        """The SSM parameter that says where the lake is: `{"bucket": …, "prefix": …, "time_zone": …}`."""
        return f"/dynalake/{self.environment}/lake"

    @property
    def settings_path(self) -> str:
        """The SSM path above every table's settings: one GetParametersByPath lists all tables."""
        return f"/dynalake/{self.environment}/tables"

    @property
    def code_prefix(self) -> str:
        """Place of code that runs on AWS: the forwarder's, and that of conversions on Spark."""
        return f"{_CODE}/"

    @property
    def passing_prefix(self) -> str:
        """`{prefix}-state/_/`: objects that are not kept as old versions, by table."""
        return f"{self.prefix}-state/_/"

    @property
    def errors_prefix(self) -> str:
        """`{prefix}-errors/`: rejected data, by stage and table."""
        return f"{self.prefix}-errors/"

    @property
    def spark_job(self) -> str:
        """The AWS Glue job that converts and compacts on Spark."""
        return f"dynalake-{self.environment}-spark"

    @property
    def spark_script(self) -> str:
        """The script of that job, which its definition names; its imports come with each run."""
        return f"{self.code_prefix}spark-job.py"

    @property
    def watch_overview(self) -> str:
        """`{prefix}-state/watch.json`: the state of all tables at the last check."""
        return f"{self.prefix}-state/watch.json"

    @property
    def published_alerts(self) -> str:
        """`{prefix}-state/alerts.json`: the problems of all tables that were published."""
        return f"{self.prefix}-state/alerts.json"

    @property
    def failed_batches(self) -> str:
        """`aws/lambda/`: below it Lambda puts `{mapping's UUID}/{shard}/YYYY/MM/DD/…` for each batch it gave up on.

        https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
        """
        return f"{_FAILED}/lambda/"

    def table(self, table: str) -> TableNames:
        """Return the names of one DynamoDB table in this lake."""
        return TableNames(self, table)


@dataclass(frozen=True)
class TableNames:
    """The names of one DynamoDB table in one lake."""

    lake: Lake
    table: str

    def __post_init__(self) -> None:
        if not re.fullmatch(TABLE_PATTERN, self.table):
            raise SettingsError(
                f"table is {self.table!r}",
                allowed="a DynamoDB table name: 3 to 255 letters, digits, '_', '-' and '.'",
                action="give the table's name as DynamoDB shows it, not its ARN",
                table=self.table,
            )

    # -- AWS resources -------------------------------------------------------------------------------------------

    @property
    def unread_alarms(self) -> tuple[str, str]:
        """The alarms that go off where nobody reads the table's stream, or its Kinesis stream."""
        return f"{self.stack}-stream-unread", f"{self.stack}-kinesis-unread"

    @property
    def stack(self) -> str:
        """128 characters, letters, digits and '-' (AWS::CloudFormation CreateStack, StackName)."""
        prefix = f"{self.lake.stack_prefix}-table-"
        return prefix + shorten(self.table, 128 - len(prefix), not_allowed=r"[^a-zA-Z0-9-]")

    @property
    def stream(self) -> str:
        """The Kinesis stream: 128 characters (Kinesis CreateStream, StreamName)."""
        prefix = f"{self.lake.stream_prefix}-"
        return prefix + shorten(self.table, 128 - len(prefix))

    @property
    def delivery_stream(self) -> str:
        """The Firehose stream: 64 characters (Firehose CreateDeliveryStream, DeliveryStreamName)."""
        prefix = f"{self.lake.stream_prefix}-"
        return prefix + shorten(self.table, 64 - len(prefix))

    @property
    def direct_delivery_stream(self) -> str:
        """The Firehose stream of delivery `direct`: 64 characters.

        It has a name of its own because the source of a Firehose stream cannot be changed: while a table moves from
        one delivery to the other, both exist. No environment has a `.`, so no other table's name can equal it.
        """
        prefix = f"{self.lake.stream_prefix}.direct-"
        return prefix + shorten(self.table, 64 - len(prefix))

    def firehose(self, delivery: str) -> str:
        """Return the Firehose stream of a delivery."""
        return self.direct_delivery_stream if delivery == "direct" else self.delivery_stream

    @property
    def settings_parameter(self) -> str:
        """The SSM parameter that holds the table's settings."""
        return f"{self.lake.settings_path}/{self.table}"

    # -- S3 ------------------------------------------------------------------------------------------------------

    @property
    def raw_prefix(self) -> str:
        """`{prefix}/json/{TABLE}/`"""
        return f"{self.lake.prefix}/json/{self.table}/"

    def raw_day(self, day: str) -> str:
        """`{prefix}/json/{TABLE}/dt=YYYYMMDD/`, a day in the lake's time zone."""
        return f"{self.raw_prefix}dt={check_day(day)}/"

    def large_change(self, day: str, sequence_number: str) -> str:
        """`{prefix}/json/{TABLE}/dt=YYYYMMDD/large-{sequence number}.gz`: one change that no stream accepts."""
        return f"{self.raw_day(day)}large-{sequence_number}.gz"

    def snapshot_run(self, run: str) -> str:
        """`{prefix}/json/{TABLE}/dt=00000000/{run}/`"""
        return f"{self.raw_day(SNAPSHOT_DAY)}{run}/"

    @property
    def parquet_prefix(self) -> str:
        """`{prefix}/parquet/{TABLE}/`"""
        return f"{self.lake.prefix}/parquet/{self.table}/"

    # The last words of the two locations differ from each other and from all others, so that neither begins like
    # another table's: a program that cleans an Iceberg table lists by its location, which has no slash at its end.

    @property
    def changes_location(self) -> str:
        """`{prefix}/parquet/{TABLE}/changes`: the Iceberg table of every change."""
        return f"{self.parquet_prefix}changes"

    @property
    def items_location(self) -> str:
        """`{prefix}/parquet/{TABLE}/items`: the Iceberg table of one row per item."""
        return f"{self.parquet_prefix}items"

    def change_folder(self, day: str, folder: str) -> str:
        """`{prefix}/parquet/{TABLE}/changes/dt=YYYYMMDD/v={uuid}/`"""
        return f"{self.changes_location}/dt={check_day(day)}/v={folder}/"

    def items_folder(self, folder: str) -> str:
        """`{prefix}/parquet/{TABLE}/items/v={uuid}/`"""
        return f"{self.items_location}/v={folder}/"

    @property
    def orc_prefix(self) -> str:
        """`{prefix}/orc/{TABLE}/`: the copy of closed days as ORC, where the user wants one."""
        return f"{self.lake.prefix}/orc/{self.table}/"

    def orc_folder(self, day: str, folder: str) -> str:
        """`{prefix}/orc/{TABLE}/dt=YYYYMMDD/v={uuid}/`"""
        return f"{self.orc_prefix}dt={check_day(day)}/v={folder}/"

    def rejected(self, stage: str) -> str:
        """`{prefix}-errors/{stage}/{TABLE}/`"""
        return f"{self.lake.errors_prefix}{stage}/{self.table}/"

    @property
    def state_prefix(self) -> str:
        """`{prefix}-state/{TABLE}/`: hand-off, checkpoints, ledgers, manifests; JSON a person can read."""
        return f"{self.lake.prefix}-state/{self.table}/"

    @property
    def passing_prefix(self) -> str:
        """`{prefix}-state/_/{TABLE}/`: objects that last for hours, or are written again; not kept as old versions.

        It is a prefix of its own, because S3's lifecycle rules know no table. No DynamoDB table has a name of one
        character.
        """
        return f"{self.lake.passing_prefix}{self.table}/"

    @property
    def folder_manifests(self) -> str:
        """`{prefix}-state/{TABLE}/manifests/`: what each folder of the table of changes was made from."""
        return f"{self.state_prefix}manifests/"

    def folder_manifest(self, folder: str) -> str:
        """`{prefix}-state/{TABLE}/manifests/{uuid}.json`"""
        return f"{self.folder_manifests}{folder}.json"

    @property
    def reported_days(self) -> str:
        """`{prefix}-state/{TABLE}/reported/`: reported days, beyond the usual ones, in which objects have landed."""
        return f"{self.state_prefix}told/"

    def reported_day(self, day: str) -> str:
        """`{prefix}-state/{TABLE}/reported/YYYYMMDD`"""
        return f"{self.reported_days}{check_day(day)}"

    @property
    def named_objects(self) -> str:
        """`{prefix}-state/_/{TABLE}/named.json.gz`: a copy of which raw objects the live folders name."""
        return f"{self.passing_prefix}named.json.gz"

    @property
    def conversions(self) -> str:
        """`{prefix}-state/_/{TABLE}/convert/`: plans and results of conversions, until they are committed."""
        return f"{self.passing_prefix}convert/"

    def conversion(self, plan: str) -> str:
        """`{prefix}-state/_/{TABLE}/convert/{plan}/`"""
        return f"{self.conversions}{plan}/"

    def conversion_batch(self, plan: str, number: int) -> str:
        """`{prefix}-state/_/{TABLE}/convert/{plan}/{number}-batch.json`: the raw objects that one task converts."""
        return f"{self.conversion(plan)}{number:05d}-batch.json"

    def conversion_result(self, plan: str, number: int) -> str:
        """`{prefix}-state/_/{TABLE}/convert/{plan}/{number}-result.json`: the result of one task."""
        return f"{self.conversion(plan)}{number:05d}-result.json"

    @property
    def garbage(self) -> str:
        """`{prefix}-state/{TABLE}/garbage.json.gz`: unreferenced files, and since when they are known."""
        return f"{self.state_prefix}garbage.json.gz"

    @property
    def raw_retention_note(self) -> str:
        """`{prefix}-state/{TABLE}/raw-retention.json`: up to which day raw objects may have been deleted."""
        return f"{self.state_prefix}raw-retention.json"

    @property
    def scrub_report(self) -> str:
        """`{prefix}-state/{TABLE}/scrub.json`: the report of the last scrub."""
        return f"{self.state_prefix}scrub.json"

    def metadata_note(self, glue_table: str) -> str:
        """`{prefix}-state/{TABLE}/iceberg/{glue table}.json`: the location of an Iceberg table's latest metadata."""
        return f"{self.state_prefix}iceberg/{glue_table}.json"

    @property
    def snapshot_runs(self) -> str:
        """`{prefix}-state/{TABLE}/snapshot-runs/`: which backfill has which number."""
        return f"{self.state_prefix}snapshot-runs/"

    def snapshot_number(self, number: int) -> str:
        """`{prefix}-state/{TABLE}/snapshot-runs/{number}.json`: the backfill that has this number."""
        return f"{self.snapshot_runs}{number:06d}.json"

    def snapshot_swap(self, number: int) -> str:
        """`{prefix}-state/{TABLE}/snapshot-swaps/{number}.json`: the folders of a snapshot that is being swapped in."""
        return f"{self.state_prefix}snapshot-swaps/{number:06d}.json"

    def restored_note(self, glue_table: str) -> str:
        """`{prefix}-state/{TABLE}/iceberg/{glue table}.restored.json`: since when changes have to be merged again."""
        return f"{self.state_prefix}iceberg/{glue_table}.restored.json"

    @property
    def hand_off(self) -> str:
        return f"{self.state_prefix}hand-off.json"

    @property
    def backfill_states(self) -> str:
        """`{prefix}-state/{TABLE}/backfill/`"""
        return f"{self.state_prefix}backfill/"

    def backfill_state(self, run: str) -> str:
        """`{prefix}-state/{TABLE}/backfill/{run}/`"""
        return f"{self.backfill_states}{run}/"

    def export_prefix(self, run: str) -> str:
        """`{prefix}-state/_/{TABLE}/export/{run}/`: where DynamoDB puts the run's export."""
        return f"{self.passing_prefix}export/{run}/"

    def spark_outcome(self, run: str) -> str:
        """`{prefix}-state/{TABLE}/spark/{run}.json`: the answer of a job on Spark when it ends."""
        return f"{self.state_prefix}spark/{run}.json"

    @property
    def watch_state(self) -> str:
        """`{prefix}-state/_/{TABLE}/watch.json`: the table's state at the last check."""
        return f"{self.passing_prefix}watch.json"

    @property
    def events_note(self) -> str:
        """`{prefix}-state/_/{TABLE}/events.json`: the commits up to which asset events were taken, and by which run."""
        return f"{self.passing_prefix}events.json"

    @property
    def last_certificate(self) -> str:
        """`{prefix}-state/_/{TABLE}/certificate.json`: the newest certificate of equality."""
        return f"{self.passing_prefix}certificate.json"

    def certificate(self, run: str) -> str:
        """`{prefix}-state/{TABLE}/certificates/{run}.json`: the certificate of a run."""
        return f"{self.state_prefix}certificates/{run}.json"

    @property
    def certification(self) -> str:
        """`{prefix}-state/_/{TABLE}/certification.json`: the comparison of all items, and which are in doubt."""
        return f"{self.passing_prefix}certification.json"

    def redrive_state(self, run: str) -> str:
        """`{prefix}-state/_/{TABLE}/redrive/{run}/`"""
        return f"{self.passing_prefix}redrive/{run}/"

    def redriven(self, key: str) -> str:
        """Where a failed batch goes once it is replayed: `{prefix}-errors/done/{TABLE}/{stage}/…`."""
        for stage, prefix in (
            (STAGE_MAPPING, self.lake.failed_batches),
            (STAGE_FORWARDER, self.rejected(STAGE_FORWARDER)),
        ):
            if key.startswith(prefix):
                return f"{self.rejected(STAGE_DONE)}{stage}/{key.removeprefix(prefix)}"
        raise SettingsError(
            f"batch is {key!r}",
            allowed=f"a key under {self.lake.failed_batches} or {self.rejected(STAGE_FORWARDER)}",
            action="take it from the list of a dry run",
            table=self.table,
        )

    def uri(self, key: str) -> str:
        """`s3://{bucket}/{key}`"""
        return f"s3://{self.lake.bucket}/{key}"

    # -- Glue ----------------------------------------------------------------------------------------------------

    @property
    def glue_name(self) -> str:
        """The common part of the Glue names: lower case, letters, digits and '_'.

        https://docs.aws.amazon.com/athena/latest/ug/tables-databases-columns-names.html
        Two DynamoDB tables can give one Glue name; setup refuses the second (`NameTakenError`).
        """
        folded = re.sub(r"[^a-z0-9_]", "_", self.table.lower())
        return folded if len(folded) <= 240 else shorten(folded, 240, replacement="_")

    @property
    def json_table(self) -> str:
        return f"{self.glue_name}_json"

    @property
    def parquet_table(self) -> str:
        return f"{self.glue_name}_parquet"

    @property
    def orc_table(self) -> str:
        """The copy of closed days as ORC, where the user wants one."""
        return f"{self.glue_name}_orc"

    @property
    def changes_table(self) -> str:
        """Every change exactly once, typed: Iceberg."""
        return self.glue_name

    @property
    def state_table(self) -> str:
        """One row per item, as of the last fold: Iceberg."""
        return f"{self.glue_name}_state"

    @property
    def removed_view(self) -> str:
        """Items that are gone."""
        return f"{self.glue_name}_removed"

    @property
    def history_view(self) -> str:
        """Every image of each item, with the time in which it was valid."""
        return f"{self.glue_name}_history"

    @property
    def current_view(self) -> str:
        """The latest image of each item."""
        return f"{self.glue_name}_current"

    @property
    def glue_names(self) -> tuple[str, ...]:
        """All names that the table may have in Glue, views first."""
        views = (self.current_view, self.removed_view, self.history_view)
        hive = (self.orc_table, self.parquet_table, self.json_table)
        return (*views, self.state_table, self.changes_table, *hive)


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it may be a lake's: letters, digits, `_`, `.`, `-`, and `/` between."""
    reserved = prefix.split("/")[0] in _RESERVED
    if len(prefix) <= PREFIX_LIMIT and re.fullmatch(PREFIX_PATTERN, prefix) and not reserved:
        return prefix
    raise SettingsError(
        f"prefix is {prefix!r}",
        allowed=f"{PREFIX_ALLOWED}; not in {', '.join(f'{name}/' for name in _RESERVED)}",
        action="write it like a folder, without a slash at either end, for example 'dynamodb' or 'lake/raw'",
        prefix=prefix,
    )
