"""The DAG files import quickly, without heavy libraries, and explain themselves in the UI."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.airflow.dag_bag import DAGS, load_bag

FILES = sorted(DAGS.glob("*.py"))
HEAVY = ("pyarrow", "pandas", "numpy", "boto3", "botocore", "awswrangler")


def test_no_import_errors(bag: Any) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == {file.stem for file in FILES} - {"dynalake_lakes"}, "one DAG per file, named like the file"


def test_dag_files_stay_thin() -> None:
    assert {file.name: len(file.read_text().splitlines()) for file in FILES if file.stat().st_size > 4500} == {}


PARSE = """
import airflow.sdk, airflow.providers.standard.operators.trigger_dagrun, json, os, runpy, socket, sys, time
def refuse(*_): raise AssertionError("a DAG file asks the network")
socket.socket.connect = socket.getaddrinfo = refuse
plugins, heavy, *files = sys.argv[1:]
sys.path.insert(0, plugins)
for file in files:
    sys.stdout.flush()
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, file
        continue
    started = time.process_time()
    runpy.run_path(file)
    print(json.dumps([file, time.process_time() - started, [name for name in heavy.split() if name in sys.modules]]))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def parsed() -> dict[str, tuple[float, list[str]]]:
    """Parse each file in its own process with Airflow's own imports, to measure what the file adds to every parse.

    Gives the seconds of CPU time, because wall time depends on the machine's load, and the heavy libraries. Parsing
    does not call AWS, so its time does not depend on the number of tables.
    """
    arguments = [str(DAGS.parent / "plugins"), " ".join(HEAVY), *map(str, FILES)]
    parsing = subprocess.run([sys.executable, "-c", PARSE, *arguments], capture_output=True, text=True, check=False)
    assert parsing.returncode == 0, parsing.stderr
    lines = [json.loads(line) for line in parsing.stdout.splitlines() if line.startswith('["/')]
    return {Path(file).stem: (seconds, heavy) for file, seconds, heavy in lines}


@pytest.mark.newest
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_parsing_is_quick_and_light(file: Path, parsed: dict[str, tuple[float, list[str]]]) -> None:
    seconds, heavy = parsed[file.stem]
    assert heavy == []
    assert seconds < 1


def test_every_dag_and_parameter_is_described(bag: Any) -> None:
    for dag in bag.dags.values():
        assert dag.doc_md, dag.dag_id
        assert "dynalake" in dag.tags
        for name, parameter in dag.params.items():
            schema = dag.params.get_param(name).schema
            assert schema.get("description_md"), f"{dag.dag_id}.{name} has no description: {parameter}"
            assert schema.get("type"), f"{dag.dag_id}.{name} has no type"


def test_every_field_with_an_empty_default_can_be_left_empty(bag: Any) -> None:
    """Airflow's form takes an empty text for a missing value, and starts no run while one is missing."""
    for dag in bag.dags.values():
        for name in dag.params:
            param = dag.params.get_param(name)
            assert param.value != "", f"{dag.dag_id}.{name}"
            if param.value is None:
                assert param.resolve(None) is None, f"{dag.dag_id}.{name}"


def test_every_form_has_fields_without_a_section(bag: Any) -> None:
    """They are the ones that are open. Airflow 3.1 shows no field of a form in which each has a section."""
    for dag in bag.dags.values():
        shown = [name for name in dag.params if "section" not in dag.params.get_param(name).schema]
        assert 0 < len(shown) <= 8, dag.dag_id
        assert set(shown) >= {"table"} & set(dag.params), dag.dag_id


def test_every_dag_with_something_to_undo_can_only_show_it(bag: Any) -> None:
    """By one name; a conversion and a look at the lake change nothing that has to be undone."""
    dry = {dag.dag_id for dag in bag.dags.values() if "dry_run" in dag.params}
    assert dry == {f"dynalake_{name}" for name in ("setup", "backfill", "compact", "redrive", "teardown")}
    for dag in dry:
        assert bag.dags[dag].params["dry_run"] is False


def test_numbers_out_of_range_are_refused_and_not_changed_by_the_form(bag: Any) -> None:
    """The form changes a number to the nearest one that `minimum` and `maximum` allow, without a word."""
    limited = 0
    for dag in bag.dags.values():
        for name in dag.params:
            param = dag.params.get_param(name)
            assert not {"minimum", "maximum"} & set(param.schema), f"{dag.dag_id}.{name}"
            for limits in param.schema.get("allOf", []):
                limited += 1
                for limit, step in (("minimum", -1), ("maximum", 1)):
                    if limit in limits:
                        assert param.resolve(limits[limit]) == limits[limit]
                        with pytest.raises(Exception, match=f"{limits[limit] + step} is (less|greater) than the m"):
                            param.resolve(limits[limit] + step)
                if "enum" in limits:
                    with pytest.raises(Exception, match="2 is not one of"):
                        param.resolve(2)
    assert limited > 40


def test_the_description_of_a_field_names_its_limits(bag: Any) -> None:
    def description(dag: str, name: str) -> str:
        text: str = bag.dags[dag].params.get_param(name).schema["description_md"]
        return text

    assert description("dynalake_setup", "shards").endswith("From 0 to 500. Empty: 0.")
    assert description("dynalake_watch", "conversion_minutes").endswith("At least 1. Empty: 60.")
    assert "One of 1, 3, 5, 7, " in description("dynalake_setup", "log_retention_days")
    assert (
        "From 128 to 10,240. If you leave it empty, the lake keeps its value; a new lake has **512**."
        in description("dynalake_setup", "memory_mb")
    )


def test_only_the_table_has_no_default(bag: Any) -> None:
    from airflow.sdk.definitions._internal.types import NOTSET

    for dag in bag.dags.values():
        required = {name for name in dag.params if dag.params.get_param(name).value is NOTSET}
        assert required <= {"table"}, dag.dag_id


def test_every_parameter_is_documented(bag: Any) -> None:
    """docs/parameters.md names every parameter of every DAG."""
    text = (DAGS.parent / "docs" / "parameters.md").read_text()
    sections = {part.split("\n", 1)[0].strip("` "): part for part in text.split("\n## ")[1:]}
    shared = sections["Everywhere"] + sections["Settings"] + sections["Lake"]
    for dag in bag.dags.values():
        assert dag.dag_id in sections
        undocumented = [name for name in dag.params if f"`{name}`" not in sections[dag.dag_id] + shared]
        assert undocumented == [], dag.dag_id


def test_the_name_of_a_table_stays_text_even_if_it_looks_like_a_number(bag: Any) -> None:
    """Setup passes it to the backfill in a template, and native templates turn text like a number into a number."""
    start = bag.dags["dynalake_setup"].task_dict["start_backfill"]
    for name in ("20240101", "1e5", "None", "RECEIPTS"):
        run_conf = {"table": name, "backfill": "auto", "environment": "dev"}
        rendered = start.render_template(start.conf, {"params": run_conf})
        assert rendered == {"table": name, "method": "auto", "environment": "dev"}


def test_templates_are_rendered_in_the_sandbox(bag: Any) -> None:
    """Airflow renders native objects in an environment without a sandbox, and no DAG here needs them.

    https://jinja.palletsprojects.com/en/stable/sandbox/
    """
    from jinja2.sandbox import SandboxedEnvironment

    for dag in bag.dags.values():
        assert isinstance(dag.get_template_env(), SandboxedEnvironment), dag.dag_id


def test_each_hand_off_has_its_own_backfill(bag: Any) -> None:
    """A cleared setup does not start an existing backfill again; after a teardown there is a new hand-off."""
    from airflow.configuration import conf

    start = bag.dags["dynalake_setup"].task_dict["start_backfill"]
    ids = []
    for hand_off in ("2019-05-25T12:00:00.000+00:00", "2019-05-25T12:00:00.000+00:00", "2019-06-01T12:00:00.000+00:00"):
        context = SimpleNamespace(xcom_pull=lambda task, at=hand_off: at if task == "record_hand_off" else None)
        ids.append(start.render_template(start.trigger_run_id, {"run_id": "manual__1", "ti": context}))
    assert ids[0] == ids[1] != ids[2]
    allowed = re.compile(conf.get("scheduler", "allowed_run_id_pattern"))
    assert all(isinstance(one, str) and allowed.match(one) for one in ids)
    assert start.skip_when_already_exists


def test_nothing_is_read_before_every_shard_is_proven(bag: Any) -> None:
    """The former delivery is removed after that, so it delays neither the hand-off nor the backfill."""
    setup = bag.dags["dynalake_setup"]
    order = [
        "choose_tables",
        "check_source",
        "plan",
        "deploy.storage",
        "deploy.forwarder",
        "deploy.delivery",
        "prove.streams",
    ]
    order += ["prove.send_canaries", "prove.canaries_arrive", "start", "reading"]
    hand_off = ["register_catalog", "record_hand_off", "needs_backfill", "start_backfill"]
    removal = ["leave.find_former", "leave.former_is_empty", "leave.remove_former"]
    for steps in (order + hand_off, order + removal):
        for before, after in pairwise(steps):
            assert before in setup.get_task(after).get_flat_relative_ids(upstream=True), after
    assert set(setup.task_ids) == {*order, *hand_off, *removal, "set_up_each", "show", "restore_catalog"}
    for task in hand_off:
        assert not setup.get_task(task).get_flat_relative_ids(upstream=True) & set(removal)


def limit_of(task: Any) -> timedelta:
    """Return the longest time that a task may work or wait in one try."""
    assert task.execution_timeout, f"{task.dag_id}.{task.task_id} has no execution_timeout"
    of: Any = getattr(task, "operator_class", type(task))  # of a mapped task
    seconds: float = getattr(task, "timeout", 0) if hasattr(of, "poke") else 0
    longest_wait: timedelta = getattr(of, "longest_wait", timedelta(0))
    execution: timedelta = task.execution_timeout
    return max(execution, timedelta(seconds=seconds), longest_wait)


def tries_of(task: Any) -> timedelta:
    """Return the same with all its retries."""
    tries, delay = int(task.retries) + 1, timedelta(seconds=task.retry_delay.total_seconds())
    return (limit_of(task) + delay) * tries


def test_every_task_and_every_run_has_a_time_limit(bag: Any) -> None:
    """One table must never delay the others; a task's limit that is longer than its run's would have no effect."""
    for dag in bag.dags.values():
        assert dag.dagrun_timeout, f"{dag.dag_id} has no dagrun_timeout"
        for task in dag.tasks:
            assert timedelta(0) < limit_of(task) <= dag.dagrun_timeout, f"{dag.dag_id}.{task.task_id}"


def test_every_wait_without_a_worker_has_a_time_limit() -> None:
    """By `longest_wait`, which counts towards the task's limit: Airflow itself has no limit for it."""
    waits = []
    for file in sorted((DAGS.parent / "plugins" / "dynalake" / "operators").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "defer":
                limits = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "timeout"]
                assert limits == ["self.longest_wait"], f"{file.name}:{node.lineno}"
                waits.append(file.stem)
    assert waits


@pytest.mark.parametrize(
    ("dag", "hangs", "others"),
    [
        ("dynalake_compact", "compact", ("tables",)),
        ("dynalake_convert", "convert", ("plan", "gather", "commit", "report")),
        ("dynalake_watch", "look", ("report",)),
    ],
)
def test_a_table_that_hangs_leaves_time_for_the_others(bag: Any, dag: str, hangs: str, others: tuple[str, ...]) -> None:
    """With all its retries, and with the work for the other tables before and after it."""
    tasks = bag.dags[dag].task_dict
    rest = sum((limit_of(tasks[name]) for name in others), timedelta(0))
    assert tries_of(tasks[hangs]) + rest < bag.dags[dag].dagrun_timeout


def two_lakes(monkeypatch: pytest.MonkeyPatch, **staging: Any) -> Any:
    """Return the DAGs of an Airflow with the lakes `prod` and `staging`."""
    prod = {"convert_every_minutes": 5, "compact_schedule": "30 1 * * *"}
    monkeypatch.setenv("DYNALAKE_LAKES", json.dumps({"prod": prod, "staging": staging}))
    return load_bag()


def test_each_lake_has_its_own_scheduled_dags(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = two_lakes(monkeypatch, certify_schedule="0 6 1 * *")
    assert loaded.import_errors == {}
    scheduled = {
        dag.dag_id: str(getattr(dag.schedule, "cron", dag.schedule)) for dag in loaded.dags.values() if dag.schedule
    }
    assert scheduled == {
        "dynalake_convert": "0:05:00",
        "dynalake_convert_staging": "0:10:00",
        "dynalake_compact": "30 1 * * *",
        "dynalake_compact_staging": "0 2 * * *",
        "dynalake_watch": "*/10 * * * *",
        "dynalake_watch_staging": "*/10 * * * *",
        "dynalake_certify": "0 6 * * 0",
        "dynalake_certify_staging": "0 6 1 * *",
    }
    assert len(loaded.dags) == len(scheduled) + 4
    for dag in loaded.dags.values():
        environment, own = dag.params.get_param("environment"), dag.dag_id.endswith("_staging")
        offered = ["prod", "staging"] if dag.schedule is None else ["staging" if own else "prod"]
        assert (environment.value, environment.schema["enum"]) == (offered[0], offered), dag.dag_id
        with pytest.raises(Exception, match=r"(?s)'dev' is not one of.*DYNALAKE_LAKES"):
            environment.resolve("dev")
        assert dag.tags == ({"dynalake"} if dag.schedule is None else {"dynalake", offered[0]}), dag.dag_id
    staging = loaded.dags["dynalake_compact_staging"]
    assert "--dag-id dynalake_compact_staging" in staging.doc_md
    assert staging.dag_display_name == "dynalake · compact · staging"
    assert {*staging.task_dict} == {*loaded.dags["dynalake_compact"].task_dict}


def test_a_wrong_entry_stops_no_other_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = two_lakes(monkeypatch, conection="aws_staging")
    assert {dag for dag in loaded.dags if not dag.startswith("dynalake_") or dag.endswith("_staging")} == set()
    assert len(loaded.dags) == 8
    ((file, error),) = loaded.import_errors.items()
    assert Path(file).name == "dynalake_lakes.py"
    assert "'staging' of DYNALAKE_LAKES" in error
    assert "Did you mean 'connection'?" in error
