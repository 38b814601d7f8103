"""The settings of a lake that the user decides and all tables share: described, parsed and validated once.

Each option is a parameter of the storage stack or the forwarder's stack, or says where the lake is (section `Bucket`).
An option that is not given keeps its value in the stack, so the setup of another table changes nothing for the others.
A new stack gets the template's default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, replace
from typing import Any, ClassVar, Self

from dynalake.days import DEFAULT_TIME_ZONE
from dynalake.firehose_zones import firehose_zone
from dynalake.names import DEFAULT_PREFIX, check_prefix
from dynalake.options.option import Options, option
from dynalake.options.settings import LEAST_RAW_DAYS, LOG_RETENTIONS

BUCKET, STORAGE, FORWARDER = "Bucket", "Storage", "Forwarder"


def _option(stack: str, parameter: str, default: Any, title: str, description: str, **limits: Any) -> Any:
    return option(default, title, description, section=stack, parameter=parameter, **limits)


@dataclass(frozen=True)
class LakeOptions(Options):
    """Options of a lake, all with the template's default; `given` names those to set.

    Build them with `parse`: an option that its mapping leaves out, or sets to None, is not given.
    """

    word: ClassVar[str] = "option"
    keeps: ClassVar[bool] = True

    bucket: str = _option(
        BUCKET,
        "",
        "",
        "Your own bucket",
        "Your own bucket; empty: the lake makes one. Yours keeps its own policy, versioning, lifecycle, access log "
        "and alarms: `versioning`, `noncurrent_days`, `rejected_retention_days`, `query_result_days`, "
        "`access_log_bucket` and `rejected_alarm_objects` do not apply to it.",
    )
    prefix: str = _option(
        BUCKET,
        "",
        DEFAULT_PREFIX,
        "Root folder",
        "The root of the lake's folders in the bucket: `{prefix}/json/`, `{prefix}/parquet/`, `{prefix}-errors/` and "
        "`{prefix}-state/`. It may contain `/`. It cannot change once the lake exists.",
    )
    time_zone: str = _option(
        BUCKET,
        "",
        DEFAULT_TIME_ZONE,
        "Time zone of the days",
        "The IANA time zone of the days in `dt`, such as `Europe/Berlin`; Firehose must know it. It cannot change "
        "once the lake exists, and is stored under Firehose's name for it (`Asia/Calcutta` for `Asia/Kolkata`).",
    )
    kms_key_arn: str = _option(
        STORAGE,
        "KmsKeyArn",
        "",
        "KMS key (ARN)",
        "A KMS key for the bucket, streams, logs and alarms; empty for keys that AWS manages. Its policy must let "
        "CloudWatch and CloudWatch Logs use it.",
    )
    versioning: str = _option(
        STORAGE,
        "Versioning",
        "Enabled",
        "Versioning of the bucket",
        "Whether the bucket keeps overwritten and deleted objects.",
        choices=("Enabled", "Suspended"),
    )
    noncurrent_days: int = _option(
        STORAGE,
        "NoncurrentDays",
        30,
        "Keep overwritten objects for (days)",
        "How many days the bucket keeps overwritten and deleted objects; those of exports and the notes of "
        "conversions: one.",
        minimum=1,
        maximum=36500,
    )
    raw_retention_days: int = _option(
        STORAGE,
        "RawRetentionDays",
        0,
        "Keep converted raw objects for (days)",
        "After how many days `dynalake_compact` deletes raw objects that were converted to live rows. 0: never; "
        "otherwise at least 8.",
        minimum=0,
        maximum=36500,
    )
    rejected_retention_days: int = _option(
        STORAGE,
        "RejectedRetentionDays",
        0,
        "Keep rejected data for (days)",
        "After how many days rejected data is deleted; 0: never.",
        minimum=0,
        maximum=36500,
    )
    query_result_days: int = _option(
        STORAGE,
        "QueryResultDays",
        30,
        "Keep query results for (days)",
        "After how many days Athena's results are deleted.",
        minimum=1,
        maximum=36500,
    )
    query_bytes_limit: int = _option(
        STORAGE,
        "QueryBytesLimit",
        0,
        "Limit of one query (bytes)",
        "The most bytes that one query may scan (Athena's minimum is 10,000,000); 0: no limit.",
        minimum=0,
        maximum=2**53,
    )
    access_log_bucket: str = _option(
        STORAGE, "AccessLogBucket", "", "Bucket for access logs", "A bucket for S3's access logs; empty for none."
    )
    alarm_email: str = _option(
        STORAGE, "AlarmEmail", "", "Email for alarms", "The address that alarms are sent to; empty for none."
    )
    rejected_alarm_objects: int = _option(
        STORAGE,
        "RejectedAlarmObjects",
        0,
        "Alarm when more objects are rejected than",
        "Alarm if more objects than this are written under `{prefix}-errors/` within five minutes.",
        minimum=0,
        maximum=1_000_000,
    )
    deploy_role_arn: str = _option(
        STORAGE,
        "DeployRoleArn",
        "",
        "Deploy role (ARN)",
        "The role that CloudFormation uses to deploy the lake's stacks; empty: the role that it used last, or that of "
        "the AWS connection.",
    )
    permissions_boundary_arn: str = _option(
        STORAGE,
        "PermissionsBoundaryArn",
        "",
        "Permissions boundary (ARN)",
        "A managed policy that bounds the roles of the stacks; empty for none.",
    )
    lake_formation_writer_arn: str = _option(
        STORAGE,
        "LakeFormationWriterArn",
        "",
        "Lake Formation: writer (ARN)",
        "In an account with Lake Formation permissions: the role of the DAGs, which is granted the rights that it "
        "needs on the database and its tables. Empty: no grants.",
    )
    lake_formation_reader_arn: str = _option(
        STORAGE,
        "LakeFormationReaderArn",
        "",
        "Lake Formation: reader (ARN)",
        "In an account with Lake Formation permissions: a role or user that may read all tables of the database. "
        "Empty for none.",
    )
    runtime: str = _option(
        FORWARDER, "Runtime", "python3.13", "Lambda runtime", "The Lambda runtime; Python 3.11 or newer."
    )
    architecture: str = _option(
        FORWARDER,
        "Architecture",
        "arm64",
        "Processor",
        "The processor of the forwarder; its code runs on both.",
        choices=("arm64", "x86_64"),
    )
    memory_mb: int = _option(
        FORWARDER,
        "MemoryMb",
        512,
        "Memory (MB)",
        "The forwarder's memory, which also sets its share of a processor; 1,769 MB is one processor.",
        minimum=128,
        maximum=10240,
    )
    timeout_seconds: int = _option(
        FORWARDER,
        "TimeoutSeconds",
        60,
        "Timeout (seconds)",
        "How long one invocation may keep trying to send a batch.",
        minimum=15,
        maximum=900,
    )
    reserved_concurrency: int = _option(
        FORWARDER,
        "ReservedConcurrency",
        -1,
        "Reserved concurrency",
        "Concurrent invocations reserved for the forwarder, which are also its limit; -1: none.",
        minimum=-1,
        maximum=100_000,
    )
    tracing: str = _option(
        FORWARDER,
        "Tracing",
        "PassThrough",
        "X-Ray tracing",
        "Whether AWS X-Ray traces invocations.",
        choices=("PassThrough", "Active"),
    )
    forwarder_log_retention_days: int = _option(
        FORWARDER,
        "LogRetentionDays",
        30,
        "Keep the forwarder's log for (days)",
        "How many days the forwarder's log is kept.",
        choices=LOG_RETENTIONS,
    )
    errors_alarm_count: int = _option(
        FORWARDER,
        "ErrorsAlarmCount",
        0,
        "Alarm when more invocations fail than",
        "Alarm if more invocations than this fail within a minute, in three of five minutes.",
        minimum=0,
        maximum=1_000_000,
    )
    lambda_throttles_alarm_count: int = _option(
        FORWARDER,
        "ThrottlesAlarmCount",
        0,
        "Alarm when more invocations are throttled than",
        "Alarm if more invocations than this are throttled within a minute, in three of five minutes.",
        minimum=0,
        maximum=1_000_000,
    )
    duration_alarm_percent: int = _option(
        FORWARDER,
        "DurationAlarmPercent",
        80,
        "Alarm when invocations last longer than (% of the timeout)",
        "Alarm if invocations last longer than this percentage of the timeout, in three of five minutes.",
        minimum=1,
        maximum=100,
    )
    iterator_age_alarm_minutes: int = _option(
        FORWARDER,
        "IteratorAgeAlarmMinutes",
        15,
        "Alarm when sent changes are older than (minutes)",
        "Alarm if the youngest change of a batch is older than this when it is sent; a DynamoDB stream keeps changes "
        "for 24 hours.",
        minimum=1,
        maximum=1440,
    )
    given: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Self:
        given = {name: value for name, value in values.items() if value is not None}
        options = super().parse(given)
        check_prefix(options.prefix)
        return replace(options, given=frozenset(given), time_zone=firehose_zone(options.time_zone))

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if 0 < self.raw_retention_days < LEAST_RAW_DAYS:
            yield (
                "raw_retention_days",
                f"'raw_retention_days' is {self.raw_retention_days}, fewer than {LEAST_RAW_DAYS}",
            )

    @property
    def place(self) -> dict[str, str]:
        """Given options of the lake's place, which cannot change once the lake is set up."""
        return {f.name: str(getattr(self, f.name)) for f in self._chosen(BUCKET)}

    @property
    def storage(self) -> dict[str, str]:
        """Given parameters of the storage template."""
        return self._parameters(STORAGE)

    @property
    def forwarder(self) -> dict[str, str]:
        """Given parameters of the forwarder template."""
        return self._parameters(FORWARDER)

    def changed_from(self, deployed: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[str, str]]:
        """Return the given options that differ from the stack: `{name: (stack's value, requested value)}`.

        `deployed`: the parameters of the existing stacks, by section.
        """
        changed = {}
        for stack, parameters in deployed.items():
            for f in self._chosen(stack):
                deployed_value = parameters.get(f.metadata["parameter"], str(f.default))
                if deployed_value != (value := str(getattr(self, f.name))):
                    changed[f.name] = (deployed_value, value)
        return changed

    def _parameters(self, stack: str) -> dict[str, str]:
        return {f.metadata["parameter"]: str(getattr(self, f.name)) for f in self._chosen(stack)}

    def _chosen(self, section: str) -> list[Field[Any]]:
        return [f for f in self.described() if f.metadata["section"] == section and f.name in self.given]
