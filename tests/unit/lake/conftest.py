"""One lake on moto, with a Glue as strict as AWS's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from tests.unit.lake.small_lake import SmallLake


@pytest.fixture
def small_lake() -> Iterator[SmallLake]:
    with mock_aws():
        yield SmallLake()
