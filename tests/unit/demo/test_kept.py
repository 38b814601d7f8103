"""What `make up` keeps: a state counts when it is complete, and ports stay unless another program has them."""

from __future__ import annotations

import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from infra.local.run import kept
from infra.local.run.kept import Identity


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept, "STATES", tmp_path / "kept")
    monkeypatch.setattr(kept, "_IDENTITY", tmp_path / "identity.json")
    return tmp_path


def database(home: Path, *runs: str) -> Path:
    file = home / "airflow" / "airflow.db"
    file.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS run (name)")
        connection.executemany("INSERT INTO run VALUES (?)", [(run,) for run in runs])
    return file


def runs(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM run")]


def test_the_last_complete_state_counts(home: Path) -> None:
    file = database(home, "first")
    kept.save(lambda place: place.write_text("one"), file)
    kept.save(lambda place: place.write_text("two"), file)
    database(home, "second")

    def killed(place: Path) -> None:
        place.write_text("thr")
        raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        kept.save(killed, file)
    state = kept.newest()
    assert state is not None
    assert (state / "aws").read_text() == "two"
    # A journal of the database that was killed does not belong to the one of the state.
    (file.parent / "airflow.db-journal").write_text("of a killed run")
    kept.restore_database(state, file)
    assert runs(file) == ["first"]
    assert [path.name for path in file.parent.iterdir()] == ["airflow.db"]
    kept.save(lambda place: place.write_text("four"), file)
    assert sorted(path.name for path in kept.STATES.iterdir()) == ["00000003"]
    aside = kept.set_aside(home / "kept" / "00000003")
    assert (aside / "aws").read_text() == "four"
    assert kept.newest() is None
    kept.restore_database(None, file)
    assert not file.exists()


def test_a_taken_port_is_replaced_and_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Identity.prepare(kept.AWS_AND_AIRFLOW) == []
    before = Identity.read()
    assert len(set(before.ports)) == 5
    monkeypatch.setattr(kept, "ENDING_SECONDS", 0.2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", before.ports[1]))
        other.listen()
        (said,) = Identity.prepare(kept.AWS_AND_AIRFLOW)
        assert Identity.prepare(kept.TRINO) == []
    after = Identity.read()
    # A server of a run that was killed ends soon, so its port stays.
    monkeypatch.setattr(kept, "ENDING_SECONDS", 30.0)
    ending = socket.socket()
    ending.bind(("127.0.0.1", after.ports[0]))
    ending.listen()
    threading.Timer(0.3, ending.close).start()
    assert Identity.prepare(kept.AWS_AND_AIRFLOW) == []
    assert said == f"Port {before.ports[1]} is taken by another program: Airflow now has {after.ports[1]}."
    assert [a == b for a, b in zip(before.ports, after.ports, strict=True)] == [True, False, True, True, True]
    assert (before.key, before.password, before.secret) == (after.key, after.password, after.secret)
