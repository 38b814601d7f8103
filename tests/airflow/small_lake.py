"""A lake that needs no pipeline."""

from __future__ import annotations

import json

from dynalake.aws.clients import Clients
from dynalake.names import Lake
from tests.aws import lake as aws


def make_lake(clients: Clients, environment: str) -> Lake:
    """Make a bucket, a database and the parameter with their location."""
    lake = aws.make_lake(clients, environment)
    place = {"bucket": lake.bucket, "prefix": lake.prefix, "time_zone": lake.time_zone}
    clients.ssm.put_parameter(Name=lake.lake_parameter, Type="String", Value=json.dumps(place))
    return lake
