"""From an Airflow task to AWS and back: clients by connection, and errors that Airflow understands."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from airflow.sdk import PokeReturnValue, get_current_context
from airflow.sdk.exceptions import AirflowException

from dynalake.errors import AccessError, DynalakeError, NotReadyError, SettingsError, TerminalError, meant
from dynalake.operators.task.mapped import check_mapped
from dynalake.operators.task.note_text import escape
from dynalake.operators.task.run_note import ERROR, NOTE, OUTCOME
from dynalake.options.lakes import LAKES, LakeEntry, find_entry, name_dags
from dynalake.options.option import Options
from dynalake.options.where import Tables

try:
    from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import (  # type: ignore[no-redef, attr-defined]
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
    )

if TYPE_CHECKING:
    from dynalake.aws.clients import Clients
    from dynalake.lake.catalog.table import Table
    from dynalake.names import Lake

logger = logging.getLogger(__name__)

# A sensor's poke tries for this long, then returns its slot until the next poke.
LOOK_SECONDS = 5.0

_OF_OPENLINEAGE = "openlineage"  # Airflow puts the parent run under this key of a run that another DAG triggers

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=Options)


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """Make terminal errors fail the task at once, and let Airflow retry transient ones, such as AWS's throttling.

    A call that AWS does not permit is tried once more, because a changed policy takes effect only after some seconds:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency

    The message is logged line by line before it is raised: Airflow shows an exception's text as one long line above a
    stack trace, with the advice at its end. It is also pushed, for the note of a run that fails.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except DynalakeError as error:
            raise _for_airflow(error) from None
        except _aws_errors() as error:
            from dynalake.aws.refusals import explain

            explained = explain(error, run_lake().connection)
            if explained is None:
                _push_error(f"{type(error).__name__}: {error}")
                raise
            raise _for_airflow(explained) from None
        except AirflowException:
            raise  # how a task skips itself, for example
        except Exception as error:
            _push_error(f"{type(error).__name__}: {error}")
            raise

    return run


def _aws_errors() -> tuple[type[Exception], ...]:
    # Imported only after an error, because the DAG processor must not import boto3.
    from dynalake.aws.refusals import AWS_ERRORS

    return AWS_ERRORS


def _for_airflow(error: DynalakeError) -> AirflowException:
    _push_error(error.received, error.action, error.allowed)
    received, allowed, action = map(_of_lake, (error.received, error.allowed, error.action))
    logger.error("%s: %s", type(error).__name__, received)
    if allowed:
        logger.error("Needed: %s", allowed)
    if action:
        logger.error("What to do: %s", action)
    terminal = isinstance(error, TerminalError)
    if terminal and error.ids.get("permission") and get_current_context()["ti"].try_number == 1:
        logger.error("The task is tried once more: a permission may take effect only after a minute")
        terminal = False
    kind = AirflowFailException if terminal else AirflowException
    return kind(_of_lake(f"{type(error).__name__}: {error}"))


def _push_error(received: str, action: str = "", allowed: str = "") -> None:
    """Leave an error to the run's note, which shows it if the task does not succeed later."""
    parts = {"received": received, "allowed": allowed, "action": action}
    try:
        get_current_context()["ti"].xcom_push(ERROR, {name: _of_lake(text) for name, text in parts.items()})
    # The task must fail by its own error.
    except Exception:
        logger.warning("The error cannot be shown in the run's note", exc_info=True)


def poke(ask: Callable[[], Any]) -> PokeReturnValue:
    """Return a sensor's poke: done with the result of `ask`, not done while it raises `NotReadyError`."""
    deadline = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            return PokeReturnValue(is_done=True, xcom_value=ask())
        except NotReadyError as error:
            if time.monotonic() > deadline:
                say(error)
                # If the sensor's time is over, Airflow raises an error that does not say what was missing.
                _push_error(f"Waited too long. {error.received}", error.action, error.allowed)
                return PokeReturnValue(is_done=False)
        time.sleep(0.5)


def parameters() -> dict[str, Any]:
    """Return the run's parameters, validated by the form's schema.

    Raises `SettingsError` for keys of the run's `conf` that the DAG does not have: Airflow accepts any key.
    """
    context: Any = get_current_context()
    run, dag = context.get("dag_run"), context.get("dag")
    if run is not None and dag is not None:
        check_conf(run.conf or {}, dag.params.keys())
    return dict(context["params"])


def requested(kind: type[C]) -> C:
    """Return the run's options of a kind. Raise `SettingsError` for any that is not allowed."""
    params = parameters()
    return kind.parse({f.name: params[f.name] for f in kind.described() if f.name in params})


def check_conf(conf: Iterable[str], known: Iterable[str]) -> None:
    """Raise `SettingsError` unless each key of a run's `conf` is a parameter of its DAG. Name the nearest ones."""
    known = sorted(known)
    if unknown := sorted(set(conf) - set(known) - {_OF_OPENLINEAGE}):
        raise SettingsError(
            f"The run's conf has {', '.join(map(repr, unknown))}{meant(unknown, known)}",
            allowed=f"only the keys {', '.join(known)}",
            action="correct it, and trigger the DAG again",
        )


def is_named(parameter: str) -> bool:
    """Return whether whoever triggered the run has given this parameter. Airflow's form gives all, a schedule none."""
    run: Any = get_current_context().get("dag_run")
    return run is not None and parameter in (run.conf or {})


def run_id() -> str:
    """Return the run's id in Airflow: the same for every task and every retry."""
    return str(get_current_context()["run_id"])


def run_lake() -> LakeEntry:
    """Return the entry of the run's lake. Raise `SettingsError` for a lake that this Airflow does not have."""
    return find_entry(str(parameters()["environment"]))


def clients() -> Clients:
    """Return the clients of the run's lake."""
    return clients_of(run_lake())


def clients_of(entry: LakeEntry) -> Clients:
    """Return the clients of a lake's AWS connection and region. A run chooses the lake, and nothing else of it.

    Raises `AccessError` for a connection that does not exist. This is checked first: without the connection, the
    provider silently uses boto3's own credentials, perhaps of another account. One session makes all clients: a hook
    for each client would assume the connection's role every time, and read botocore's models again.
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    from airflow.sdk import BaseHook

    from dynalake.aws.clients import Clients

    try:
        BaseHook.get_connection(entry.connection)
    except AirflowNotFoundException:
        raise AccessError(
            f"There is no Airflow connection {entry.connection!r}",
            allowed="a connection of type 'aws'",
            action=f"create it under Admin → Connections (or set AIRFLOW_CONN_{entry.connection.upper()}), or name "
            f"another one for the lake {entry.environment!r} in {LAKES}",
            connection=entry.connection,
        ) from None
    hook: AwsGenericHook[Any] = AwsGenericHook(aws_conn_id=entry.connection, region_name=entry.region or None)
    return Clients.of(
        hook.get_session(region_name=hook.region_name),
        config=hook.config,
        endpoint_url=hook.conn_config.get_service_endpoint_url,
        verify=hook.verify,
    )


def say(text: object) -> None:
    """Write to the task's log, line by line.

    Airflow dates printed text by when the worker reads it. A busy worker reads it after the task has ended, and the
    line is then shown inside the log's folded "Post Execute", where nobody sees it.
    """
    for line in str(text).splitlines():
        logger.info("%s", line)


def skip(why: str) -> NoReturn:
    """End the task as skipped, and with it the tasks after it."""
    raise AirflowSkipException(why)


def conclude(outcome: str, *links: str) -> None:
    """Say what came of the run, as the first line of its note, after the run's table. The run's last one counts.

    Those of mapped tasks are lines below it. `links`: Markdown for the end of the note.
    """
    table = parameters().get("table")
    text = _of_lake(outcome if table is None else f"{table}: {outcome}")
    say(text)
    get_current_context()["ti"].xcom_push(OUTCOME, {"text": text, "links": [*links]})


def places(table: Table) -> tuple[str, ...]:
    """Return where a table's data is, for the end of a run's note."""
    names = table.names
    query, raw = f"{names.lake.database}.{names.current_view}", names.uri(names.raw_prefix)
    return escape(f"Query: {query}"), escape(f"Raw objects: {raw}")


def tell(note: str, *, markdown: bool = False) -> None:
    """Write to the task's log and to the run's note, below its first line. A task's last one counts."""
    note = _of_lake(note)
    say(note)
    get_current_context()["ti"].xcom_push(NOTE, note if markdown else escape(note))


def _of_lake(text: str) -> str:
    """Return a text with the ids of the DAGs of the run's lake."""
    params: Any = get_current_context().get("params") or {}
    return name_dags(text, str(params["environment"])) if "environment" in params else text


def lake(aws: Clients) -> Lake:
    """Return the run's lake. Raise `SettingsError` if no setup has made it."""
    from dynalake.capture.lake.registry import load_lake

    return load_lake(aws, str(parameters()["environment"]))


def named_table(name: str) -> Table:
    """Return a table of the run's lake. Raise `SettingsError` if no setup has made the lake."""
    from dynalake.lake.catalog.table import Table

    aws = clients()
    return Table(aws, lake(aws).table(name))


def run_table() -> Table:
    """Return the run's table in the run's lake."""
    return named_table(str(parameters()["table"]))


def table_list(aws: Clients) -> list[str]:
    """Return the tables of a run: those in its parameter `tables`, or all that are set up.

    A lake or table that the run names must exist. A scheduled run may be older than its lake.
    """
    from dynalake.capture.lake.registry import find_lake, list_tables, load_settings
    from dynalake.lake.catalog.table import Table

    named, environment = requested(Tables).tables, str(parameters()["environment"])
    where = lake(aws) if named or is_named("environment") else find_lake(aws, environment)
    if where is None:
        conclude(f"Nothing to do: there is no lake {environment!r}")
        tell(
            f"dynalake_setup makes it with its first table. If your lake has another name, correct {LAKES} for all of "
            "Airflow's components."
        )
        return []
    chosen = list(list_tables(aws, where))
    if not chosen and not named:
        conclude(f"Nothing to do: no table is set up in the lake {environment!r}")
    if named:
        for name in set(named) - set(chosen):
            load_settings(Table(aws, where.table(name)))  # raises, because it is not set up
        chosen = sorted(set(named))
    check_mapped(chosen)
    return chosen
