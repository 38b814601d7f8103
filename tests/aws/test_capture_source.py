"""The check of a table, on local AWS."""

from __future__ import annotations

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.source.source import Source, check_source
from dynalake.errors import SourceError
from tests.support.aws.capture_steps import make_table


def test_a_table_that_can_be_captured(clients: Clients) -> None:
    make_table(clients, "CAPTURED")
    source = check_source(clients, "CAPTURED")
    assert source.key.names == ("id",)
    assert source.view_type == "NEW_AND_OLD_IMAGES"
    assert source.stream_arn.startswith(f"{source.arn}/stream/")
    assert source.billing == "PAY_PER_REQUEST"
    assert not source.pitr
    assert Source.from_dict(source.to_dict()) == source


def test_a_missing_table_is_an_error_that_shows_similar_ones(clients: Clients) -> None:
    make_table(clients, "SIMILAR_RECEIPTS")
    with pytest.raises(SourceError, match=r"no DynamoDB table 'similar_receipt' .*SIMILAR_RECEIPTS.*upper and lower"):
        check_source(clients, "similar_receipt")


def test_a_stream_that_is_off(clients: Clients) -> None:
    make_table(clients, "SILENT", view_type=None)
    with pytest.raises(
        SourceError, match=r"stream of table 'SILENT' is off.*enable_stream=true.*aws dynamodb update-table"
    ):
        check_source(clients, "SILENT")
    assert check_source(clients, "SILENT", enable_stream=True).view_type == "NEW_AND_OLD_IMAGES"
    assert check_source(clients, "SILENT").stream_arn


@pytest.mark.parametrize("view_type", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_view_type_without_the_new_image(clients: Clients, view_type: str) -> None:
    table = f"VIEW_{view_type}"
    make_table(clients, table, view_type=view_type)
    for enable in (False, True):
        with pytest.raises(SourceError, match=f"view type {view_type}.*cannot be changed.*StreamEnabled=false"):
            check_source(clients, table, enable_stream=enable)


def test_a_stream_of_new_images_is_enough(clients: Clients) -> None:
    make_table(clients, "VIEW_NEW", view_type="NEW_IMAGE")
    assert check_source(clients, "VIEW_NEW").view_type == "NEW_IMAGE"


def test_point_in_time_recovery_is_turned_on_if_requested(clients: Clients) -> None:
    make_table(clients, "RECOVERED")
    assert check_source(clients, "RECOVERED", enable_pitr=True).pitr
    assert check_source(clients, "RECOVERED").pitr
