"""A lake that needs no pipeline."""

from __future__ import annotations

import json

from dynalake.clients import Clients
from dynalake.names import Lake


def make_lake(clients: Clients, environment: str) -> Lake:
    """A bucket, a database and the parameter that says where they are."""
    account = clients.sts.get_caller_identity()["Account"]
    lake = Lake(environment, account, clients.sts.meta.region_name)
    clients.s3.create_bucket(Bucket=lake.bucket)
    clients.glue.create_database(DatabaseInput={"Name": lake.database})
    place = {"bucket": lake.bucket, "prefix": lake.prefix, "time_zone": lake.time_zone}
    clients.ssm.put_parameter(Name=lake.lake_parameter, Type="String", Value=json.dumps(place))
    return lake
