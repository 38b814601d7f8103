"""The state of local AWS as a file: every store of ministack's services, and what the corrections add to them.

ministack's own persistence is not enough: it writes no DynamoDB stream records, no metrics and no object bodies of one
moment, and what it cannot write is left out.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from ministack.core.responses import AccountRegionScopedDict, AccountScopedDict
from ministack.services import lambda_svc

from infra.local.aws import firehose
from infra.local.aws.cloudwatch import emitted_metrics
from infra.local.aws.dynamodb.exports import history, service
from infra.local.aws.iam import access

PATH = "/_dynalake/state"
_SERVICES = "ministack.services."
# Further state is either temporary or starts with the time, which goes on.
_OURS = ((firehose, "_buffers"), (emitted_metrics, "_filters"), (history, "_histories"), (access, "_stack_roles"))


def save(file: Path) -> None:
    """Write the whole state of this moment. Raises `RuntimeError` if a part of it cannot be written."""
    # A fork is a copy of the memory in which no other thread goes on.
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with file.open("wb") as written:
                pickle.dump({(module, name): store for module, name, store in _stores()}, written)
            code = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"The state of local AWS cannot be written to {file}: read the log of local AWS.")


def restore(file: Path) -> None:
    """Take over a state before the first request, and start what it needs."""
    with file.open("rb") as written:
        saved = pickle.load(written)
    for (module, name), content in saved.items():
        store = vars(import_module(module))[name]
        held, content = (store._data, content._data) if isinstance(store, _SCOPED) else (store, content)
        held.clear()
        held.update(content)
    firehose.rebuild()
    service.fail_unfinished()
    if lambda_svc._esms.has_any():
        lambda_svc._ensure_poller()


_SCOPED = AccountScopedDict | AccountRegionScopedDict


def _stores() -> Iterator[tuple[str, str, Any]]:
    """Yield module, name and content of each store. ministack keeps all resources in dicts by account and region."""
    for module, content in sorted(sys.modules.items()):
        if module.startswith(_SERVICES):
            yield from ((module, name, value) for name, value in vars(content).items() if isinstance(value, _SCOPED))
    for correction, name in _OURS:
        yield correction.__name__, name, vars(correction)[name]
