"""No two pairs of environment and table share a resource's name, whatever their characters."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynalake.names import Lake, TableNames, shorten

# Few letters, so that two draws often differ only in where a `-` stands.
_environments = st.from_regex(r"[ab][ab-]{0,5}|[a-z][a-z0-9-]{0,15}", fullmatch=True)
_tables = st.from_regex(r"[aAb_.-]{3,8}|[a-zA-Z0-9_.-]{3,255}", fullmatch=True)
_pairs = st.tuples(_environments, _tables)

RESOURCES = ("stack", "stream", "delivery_stream", "direct_delivery_stream", "settings_parameter")


def named(pair: tuple[str, str]) -> TableNames:
    return Lake(pair[0], "123456789012", "eu-west-1").table(pair[1])


def resources(names: TableNames) -> dict[str, list[str]]:
    """Return the names by the scope in which they must be unique."""
    lake = names.lake
    return {
        "stacks": [names.stack, lake.storage_stack, lake.forwarder_stack],
        "kinesis": [names.stream],
        "firehose": [names.delivery_stream, names.direct_delivery_stream],
        "logs": [f"/aws/kinesisfirehose/{names.delivery_stream}", f"/aws/lambda/{lake.forwarder}"],
        "parameters": [names.settings_parameter, lake.lake_parameter],
        "dashboards": [lake.dashboard],
        "databases": [lake.database],
        "functions": [lake.forwarder],
    }


@given(_pairs, _pairs)
@example(("dev", "prod-RECEIPTS"), ("dev-prod", "RECEIPTS"))
@example(("dev", "table-x-storage"), ("dev-table-x", "abc"))
@example(("a", "-bc"), ("a-", "bc-"))
@example(("a-table", "bbb"), ("a", "table-bbb"))
@example(("a", "x" * 200), ("a", "x" * 201))
@example(("a", "A_b"), ("a", "A.b"))
def test_no_two_pairs_share_a_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    if one == other:
        return
    own, others = resources(named(one)), resources(named(other))
    for space in ("stacks", "kinesis", "firehose", "parameters"):
        shared = set(own[space]) & set(others[space])
        if one[0] == other[0]:
            # Shared by all tables of a lake.
            lake = named(one).lake
            shared -= {lake.storage_stack, lake.forwarder_stack, lake.lake_parameter}
        assert shared == set(), space
    if one[0] != other[0]:
        for space in ("dashboards", "databases", "functions"):
            assert not set(own[space]) & set(others[space]), space


@given(_pairs, _pairs)
def test_only_tables_that_setup_refuses_have_names_that_differ_only_in_case(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    """IAM and S3 fold case; the names of two tables that can be in one account also differ when folded."""
    own, others = named(one), named(other)
    if one == other or (one[0] == other[0] and own.glue_name == others.glue_name):
        return
    for resource in RESOURCES:
        assert getattr(own, resource).lower() != getattr(others, resource).lower()


@given(_pairs)
def test_a_shortened_name_is_never_the_name_of_another_table(pair: tuple[str, str]) -> None:
    """A table may be named like another one's shortened name: then its own name ends in a hash, too."""
    names = named(pair)
    shortened = names.delivery_stream.removeprefix(f"{names.lake.stream_prefix}-")
    if shortened != names.table and len(shortened) >= 3:
        assert named((pair[0], shortened)).delivery_stream != names.delivery_stream
    shortened = names.stack.removeprefix(f"{names.lake.stack_prefix}-table-")
    if shortened != names.table and len(shortened) >= 3:
        assert named((pair[0], shortened)).stack != names.stack


@given(_environments, _environments, _tables)
def test_a_role_of_one_lake_has_no_rights_in_another(one: str, other: str, table: str) -> None:
    """The patterns in the IAM policies are these prefixes followed by a wildcard."""
    if one == other:
        return
    lake, names = Lake(one, "123456789012", "eu-west-1"), named((other, table))
    for prefix in (f"{lake.stream_prefix}-", f"{lake.stream_prefix}.direct-"):
        for name in (names.stream, names.delivery_stream, names.direct_delivery_stream):
            assert not name.startswith(prefix)
    for stack in (names.stack, names.lake.storage_stack, names.lake.forwarder_stack):
        assert not stack.startswith(f"{lake.stack_prefix}-table-")
        assert stack not in (lake.storage_stack, lake.forwarder_stack)


@given(_pairs)
def test_names_are_stable(pair: tuple[str, str]) -> None:
    assert resources(named(pair)) == resources(named(pair))


@pytest.mark.parametrize(
    ("environment", "stack", "stream"),
    [
        ("dev", "dynalake-dev-table-RECEIPTS", "dynalake-dev-RECEIPTS"),
        ("dev-prod", "dynalake-dev--prod-table-RECEIPTS", "dynalake-dev_prod-RECEIPTS"),
    ],
)
def test_common_names_look_natural(environment: str, stack: str, stream: str) -> None:
    names = named((environment, "RECEIPTS"))
    assert names.stack == stack
    assert names.stream == names.delivery_stream == stream


def test_a_name_that_looks_shortened_gets_a_hash() -> None:
    assert shorten("x-0123456789ab", 64) == "x-0123456789ab-" + shorten("x-0123456789ab", 64)[-12:]
    assert shorten("x-0123456789a", 64) == "x-0123456789a"
