"""An application that writes on while its table's pipeline changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dynalake.aws.clients import Clients
from tests.support.waiting import eventually

BATCH = 25
MORE = 100
"""Number of items that are written, at least, before the next step."""


class Writer(threading.Thread):
    """Writes items without a pause until it is stopped."""

    def __init__(self, clients: Clients, table: str) -> None:
        super().__init__(daemon=True)
        self._table = table
        self.written: list[str] = []
        self.error: Exception | None = None
        self._clients = clients
        self._stopped = threading.Event()

    def run(self) -> None:
        try:
            while not self._stopped.is_set():
                ids = [f"item-{len(self.written) + number}" for number in range(BATCH)]
                requests: list[Any] = [{"PutRequest": {"Item": {"id": {"S": item_id}}}} for item_id in ids]
                answer = self._clients.dynamodb.batch_write_item(RequestItems={self._table: requests})
                assert not answer["UnprocessedItems"]
                self.written += ids
                time.sleep(0.005)
        except Exception as error:
            self.error = error

    def wait_for_more(self) -> None:
        """Wait until some more items are written."""
        enough = len(self.written) + MORE
        eventually(lambda: self.error or len(self.written) >= enough, every=0.01)
        assert self.error is None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write as long as the block runs."""
        self.start()
        try:
            yield
        finally:
            self._stopped.set()
            self.join(30)
