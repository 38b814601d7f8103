"""The present readers of the table's stream, and how many it may have: too many slow each other down.

https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
"""

from __future__ import annotations

from collections.abc import Sequence

from dynalake.aws.answers import code_of
from dynalake.aws.clients import Clients
from dynalake.capture.source.source import Source
from dynalake.names import Lake

READERS = 2
"""Most functions that should read a shard at once, by AWS's advice."""
READERS_OF_A_GLOBAL_TABLE = 1


def other_readers(clients: Clients, lake: Lake, stream_arn: str) -> tuple[str, ...] | None:
    """Return the functions, except the lake's own, for which a mapping reads the stream; None where that is refused."""
    try:
        pages = clients.lambda_.get_paginator("list_event_source_mappings").paginate(EventSourceArn=stream_arn)
        arns = {mapping["FunctionArn"] for page in pages for mapping in page["EventSourceMappings"]}
    except Exception as error:
        if code_of(error) not in ("AccessDenied", "AccessDeniedException"):
            raise
        return None
    # …:function:NAME[:version or alias]
    named = {arn.partition(":function:")[2] for arn in arns}
    return tuple(sorted(name for name in named if name.partition(":")[0] != lake.forwarder))


def readers_note(source: Source, others: Sequence[str]) -> str:
    """Return the note about the stream's readers; '' where there is nothing to say (pure)."""
    limit = READERS_OF_A_GLOBAL_TABLE if source.replicas else READERS
    kind = f"{source.table} is a global table (replicas in {', '.join(source.replicas)}). " if source.replicas else ""
    if len(others) + 1 > limit:
        return (
            f"{kind}The stream of {source.table} has other readers: {', '.join(others)}. With dynalake's there are "
            f"{len(others) + 1}, but AWS recommends at most {limit} per shard: all of them may be throttled, including "
            "the application's own. Let one function call the others, or watch their iterator age."
        )
    if kind:
        return f"{kind}AWS recommends one reader per shard of such a table's stream, and dynalake is one: add no other."
    return ""
