"""Every field of every DAG's form in a real browser: filled, left and emptied, and what arrives in the run's `conf`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.support.sweep import played
from tests.support.waiting import eventually

DAGS = ("setup", "backfill", "convert", "compact", "certify", "watch", "redrive", "teardown")
OPEN = "Run Parameters"
"""The name that Airflow gives to the fields without a section."""


class Form:
    """The trigger form of a DAG, opened. `params`: its parameters as the API describes them."""

    def __init__(self, airflow: Any, page: Any, dag: str) -> None:
        self.airflow, self.page, self.dag = airflow, page, f"dynalake_{dag}"
        details = airflow.client.call("GET", f"/dags/{self.dag}/details")
        self.params: dict[str, Mapping[str, Any]] = details["params"]
        self.section = OPEN
        page.goto(f"{airflow.url}/dags/{self.dag}")
        page.get_by_role("button", name="Trigger").first.click()
        self.dialog = page.get_by_role("dialog")
        self.field(next(iter(self.params))).wait_for()
        # The run stays queued, since the DAG is paused: the test reads what arrived, and nothing is done.
        unpause = self.dialog.get_by_text("Unpause dynalake", exact=False)
        unpause.wait_for()
        unpause.click()

    def schema(self, name: str) -> Mapping[str, Any]:
        schema: Mapping[str, Any] = self.params[name]["schema"]
        return schema

    def kind(self, name: str) -> str:
        """Return what a user sees: boolean, choice, integer, array, date-time or string."""
        schema = self.schema(name)
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        (kind,) = [kind for kind in kinds if kind != "null"]
        return "choice" if "enum" in schema else str(schema.get("format", kind))

    def label(self, name: str) -> Any:
        return self.page.locator("label", has_text=re.compile(rf"^{re.escape(self.schema(name)['title'])}\s*\*?$"))

    def field(self, name: str) -> Any:
        if self.kind(name) == "date-time":
            row = self.dialog.locator("[data-scope=field][data-part=root]").filter(has=self.label(name))
            return row.get_by_test_id("datetime-input")
        return self.dialog.locator(f"[id='element_{name}'], [name='element_{name}']").first

    def show(self, name: str) -> None:
        """Open the field's section; Airflow has one open at a time."""
        section = str(self.schema(name).get("section") or OPEN)
        if section != self.section:
            self.dialog.get_by_role("button", name=section, exact=True).click()
            self.section = section
        self.field(name).scroll_into_view_if_needed()

    def fill(self, name: str, value: Any) -> None:
        """Fill the field as a user does."""
        self.show(name)
        field = self.field(name)
        match self.kind(name):
            case "boolean":
                if value != bool(self.params[name]["value"]):
                    self.dialog.locator(
                        f"label[id*='element_{name}'], label:has([name='element_{name}'])"
                    ).first.click()
            case "choice":
                field.click()
                self.page.get_by_role("option", name=str(value), exact=True).click()
            case "array":
                field.fill("\n".join(value) + "\n")
            case "date-time":
                day, time = value.split("T")
                field.click()
                self.page.get_by_placeholder("YYYY/MM/DD").locator("visible=true").last.fill(day.replace("-", "/"))
                self.page.get_by_placeholder("HH:mm").locator("visible=true").last.fill(time)
                self.label(name).click()
            case _:
                field.fill(str(value))
                field.blur()

    def empty(self, name: str) -> None:
        """Type something and delete it again."""
        self.show(name)
        field = self.field(name)
        field.fill("1" if self.kind(name) == "integer" else "x")
        field.fill("")
        field.blur()

    def submit(self) -> dict[str, Any]:
        """Trigger the DAG, and return the `conf` that arrived."""
        known = {run["dag_run_id"] for run in self.airflow.client.runs(self.dag)}
        self.trigger.click()
        new = eventually(
            lambda: [run for run in self.airflow.client.runs(self.dag) if run["dag_run_id"] not in known], bool
        )
        conf: dict[str, Any] = new[0]["conf"]
        self.airflow.client.call("DELETE", f"/dags/{self.dag}/dagRuns/{new[0]['dag_run_id']}")
        return conf

    @property
    def trigger(self) -> Any:
        return self.dialog.get_by_role("button", name="Trigger", exact=True, disabled=False)

    def required(self) -> list[str]:
        return [name for name in self.params if self.params[name]["value"] is None and not self.may_be_empty(name)]

    def may_be_empty(self, name: str) -> bool:
        return "null" in self.schema(name)["type"] if isinstance(self.schema(name)["type"], list) else False


def another(form: Form, name: str) -> Any:
    """Return a value other than the default that the field may have."""
    schema, default = form.schema(name), form.params[name]["value"]
    limits = (schema.get("allOf") or [{}])[0]
    match form.kind(name):
        case "boolean":
            return not default
        case "choice":
            return [choice for choice in schema["enum"] if choice not in (None, default)][-1:] or default
        case "integer":
            if "enum" in limits:
                return next(n for n in limits["enum"] if n not in (None, default))
            # A browser has no greater whole number.
            most = min(limits.get("maximum", 0), 2**53 - 1)
            return most if most and most != default else limits["minimum"] + 1
        case "array":
            return ["first", "second"]
        case "date-time":
            return "2019-05-25T12:30"
        case _:
            return f"a {name}"


@pytest.mark.parametrize("dag", DAGS)
def test_a_form_arrives_as_it_was_filled(airflow: Any, page: Any, shot: Callable[[str], None], dag: str) -> None:
    """The session's share of its fields; the others are left as they are."""
    with airflow.client.paused(f"dynalake_{dag}"):
        form = Form(airflow, page, dag)
        shot(f"{dag}-form")
        assert form.required() == (["table"] if "table" in form.params else [])
        expected = {name: param["value"] for name, param in form.params.items()}
        filled = [*form.required(), *played([name for name in form.params if name not in form.required()])]
        for name in filled:
            value = another(form, name)
            value = value[0] if form.kind(name) == "choice" and isinstance(value, list) else value
            form.fill(name, value)
            expected[name] = [*value, ""] if form.kind(name) == "array" else value
        conf = form.submit()
    for name in [name for name in filled if form.kind(name) == "date-time"]:
        assert str(conf.pop(name)).startswith(expected.pop(name))
    assert {name: (conf.get(name), value) for name, value in expected.items() if conf.get(name) != value} == {}
    assert set(conf) == set(expected)


# These three have all kinds of fields. Their schemas, from one function, are compared in tests/airflow/test_dags.py.
@pytest.mark.parametrize("dag", ["setup", "backfill", "redrive"])
def test_each_field_that_is_emptied_again_can_be_left(airflow: Any, page: Any, dag: str) -> None:
    """The form does not become unusable by a text that was typed and deleted: the session's share of its fields."""
    with airflow.client.paused(f"dynalake_{dag}"):
        form = Form(airflow, page, dag)
        expected = {name: param["value"] for name, param in form.params.items()}
        may_be_emptied = [
            name
            for name in form.params
            if form.may_be_empty(name) and form.kind(name) in ("string", "integer", "array")
        ]
        for name in played(may_be_emptied):
            form.empty(name)
            expected[name] = None
        for name in form.required():
            form.fill(name, "RECEIPTS")
            expected[name] = "RECEIPTS"
        conf = form.submit()
    assert conf == expected


@pytest.mark.parametrize(("dag", "name", "value"), [("setup", "shards", 9999), ("watch", "expiring_hours", 24)])
def test_a_number_out_of_range_is_refused_and_not_changed(
    airflow: Any, page: Any, shot: Callable[[str], None], dag: str, name: str, value: int
) -> None:
    with airflow.client.paused(f"dynalake_{dag}"):
        form = Form(airflow, page, dag)
        for required in form.required():
            form.fill(required, "RECEIPTS")
        before = len(airflow.client.runs(form.dag))
        form.fill(name, value)
        form.trigger.click()
        form.dialog.get_by_text(f"{value} is greater than the maximum of ", exact=False).first.wait_for()
        shot(f"{dag}-out-of-range")
        assert len(airflow.client.runs(form.dag)) == before


@pytest.mark.parametrize("dag", DAGS)
def test_descriptions_have_no_code_chips(airflow: Any, dag: str) -> None:
    params = airflow.client.call("GET", f"/dags/dynalake_{dag}/details")["params"]
    assert "`" not in json.dumps([param["schema"]["description_md"] for param in params.values()])
