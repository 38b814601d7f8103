"""The only place where boto3 clients are made."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config
    from botocore.model import OperationModel
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient


ONCE_SECONDS = 60
"""How long a call that is sent a single time waits for its answer."""


class Clients:
    """The AWS clients of one account and region, each made once, at its first use.

    `make` returns a boto3 client for a service name; `make_once` one that sends each call a single time.
    """

    def __init__(self, make: Callable[[str], Any], make_once: Callable[[str], Any] | None = None) -> None:
        self._make = make
        self._make_once = make_once or make
        self._region = ""

    @classmethod
    def of(
        cls,
        session: boto3.Session,
        *,
        config: Config | None = None,
        endpoint_url: Callable[[str], str | None] = lambda service: None,
        verify: bool | str | None = None,
    ) -> Clients:
        """Return the clients of a session. `config`: a configuration that takes precedence over dynalake's."""
        from botocore.config import Config

        usual = Config(
            retries={"mode": "adaptive", "max_attempts": 8}, max_pool_connections=32, user_agent_extra="dynalake"
        )
        settings = usual if config is None else usual.merge(config)
        # boto3 types `client` by literal service names; the name is a variable here.
        make: Any = session.client
        once = settings.merge(Config(retries={"total_max_attempts": 1}, read_timeout=ONCE_SECONDS))

        def client(service: str, config: Config) -> Any:
            client = make(service, endpoint_url=endpoint_url(service), config=config, verify=verify)
            if service == "s3":
                # After the lake's bucket was deleted, anybody may take its name.
                client.meta.events.register("before-parameter-build.s3", partial(_expect_owner, clients))
            return client

        clients = cls(lambda service: client(service, settings), lambda service: client(service, once))
        return clients

    @classmethod
    def in_region(cls, region: str) -> Clients:
        """Return the clients of the credentials that this process finds: those of the role that a job runs in.

        They can be pickled: another process finds credentials of its own, and makes its clients once.
        """
        import boto3

        clients = cls.of(boto3.Session(region_name=region))
        clients._region = region
        return clients

    def __reduce__(self) -> tuple[Callable[[str], Clients], tuple[str]]:
        if not self._region:
            raise TypeError("Clients of a session cannot be sent to another process; those of Clients.in_region can")
        return _clients_in, (self._region,)

    def make(self, *names: str) -> None:
        """Make these clients, and learn the account, before threads share them: boto3 makes one client at a time."""
        for name in (*names, "account"):
            getattr(self, name)

    @cached_property
    def account(self) -> str:
        """Account of the credentials."""
        return self.sts.get_caller_identity()["Account"]

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        return self._make("cloudformation")  # type: ignore[no-any-return]

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        return self._make("cloudwatch")  # type: ignore[no-any-return]

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        return self._make("dynamodb")  # type: ignore[no-any-return]

    @cached_property
    def dynamodb_unparsed(self) -> DynamoDBClient:
        """Another client of DynamoDB, whose `scan` returns the items as DynamoDB sent them: binary is base64 text.

        botocore goes through every value of every item in Python, which takes five times as long as all later steps.
        Where botocore has no such event, the items come parsed, with binary as bytes.
        """
        client = self._make("dynamodb")
        client.meta.events.register("before-parse.dynamodb.Scan", _keep_items)
        return client  # type: ignore[no-any-return]

    @cached_property
    def firehose(self) -> FirehoseClient:
        return self._make("firehose")  # type: ignore[no-any-return]

    @cached_property
    def glue(self) -> GlueClient:
        return self._make("glue")  # type: ignore[no-any-return]

    @cached_property
    def glue_once(self) -> GlueClient:
        """Another client of Glue, which sends each call a single time and waits `ONCE_SECONDS` for the answer.

        It is for a guarded change whose repetition would be refused because the first call has landed.
        """
        return self._make_once("glue")  # type: ignore[no-any-return]

    @cached_property
    def kinesis(self) -> KinesisClient:
        return self._make("kinesis")  # type: ignore[no-any-return]

    @cached_property
    def kms(self) -> Any:
        return self._make("kms")

    @cached_property
    def lambda_(self) -> LambdaClient:
        return self._make("lambda")  # type: ignore[no-any-return]

    @cached_property
    def s3(self) -> S3Client:
        return self._make("s3")  # type: ignore[no-any-return]

    @cached_property
    def sns(self) -> SNSClient:
        return self._make("sns")  # type: ignore[no-any-return]

    @cached_property
    def ssm(self) -> SSMClient:
        return self._make("ssm")  # type: ignore[no-any-return]

    @cached_property
    def tagging(self) -> Any:
        return self._make("resourcegroupstaggingapi")

    @cached_property
    def sts(self) -> STSClient:
        return self._make("sts")  # type: ignore[no-any-return]


def _expect_owner(clients: Clients, params: dict[str, Any], model: OperationModel, **_: Any) -> None:
    """Make S3 refuse every call to a bucket of another account than the credentials'.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
    """
    for member in ("ExpectedBucketOwner", "ExpectedSourceBucketOwner"):
        if model.input_shape is not None and member in model.input_shape.members:
            params.setdefault(member, clients.account)


def _keep_items(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Take a page's items out of what botocore parses, and put them into its answer as they are."""
    if response_dict["status_code"] != 200:
        return
    try:
        page = json.loads(response_dict["body"])
        items = page.pop("Items")
    except (LookupError, TypeError, ValueError, AttributeError):
        return  # botocore explains an answer that is not a page
    customized_response_dict["Items"] = items
    response_dict["body"] = json.dumps(page).encode()


@cache
def _clients_in(region: str) -> Clients:
    """Return the clients that a process makes once, for any number of parts of work."""
    return Clients.in_region(region)
