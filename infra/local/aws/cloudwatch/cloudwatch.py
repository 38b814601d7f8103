"""CloudWatch alarms, evaluated as time passes, by their own dimensions, with missing data.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

from __future__ import annotations

import ast
import operator
import time
from collections.abc import Callable
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import cloudwatch

from infra.local.aws.patch import replace
from infra.local.aws.settings import scaled

EVALUATION_SECONDS = 60.0

Alarm = dict[str, Any]

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@replace(cloudwatch, "_evaluate_alarm")
def evaluate(alarm: Alarm) -> None:
    """Set the alarm's state from its last periods, and run its actions if the state changed."""
    # An alarm on anomaly detection has no single comparison.
    compare = _COMPARISONS.get(alarm.get("ComparisonOperator", ""))
    if compare is None or not (alarm.get("MetricName") or alarm.get("Metrics")):
        return
    count = int(alarm["EvaluationPeriods"])
    values = _math_values(alarm["Metrics"], count) if alarm.get("Metrics") else _period_values(alarm, count)
    treatment = alarm.get("TreatMissingData") or "missing"
    missing = {"breaching": True, "notBreaching": False}.get(treatment)
    breaching = [missing if value is None else compare(value, alarm["Threshold"]) for value in values]
    old = alarm["StateValue"]
    known = [breach for breach in breaching if breach is not None]
    if known:
        needed = int(alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"])
        new = "ALARM" if sum(known) >= needed else "OK"
    else:
        new = old if treatment == "ignore" else "INSUFFICIENT_DATA"
    if new == old:
        return
    reason = f"Threshold Crossed: datapoints {values} {alarm['ComparisonOperator']} {alarm['Threshold']}"
    alarm.update({"StateValue": new, "StateReason": reason, "StateUpdatedTimestamp": int(time.time())})
    cloudwatch._record_history(alarm["AlarmName"], old, new, reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, new, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _math_values(queries: list[dict[str, Any]], count: int) -> list[float | None]:
    """Return the result of an arithmetic expression over metrics in each of the last periods, newest first.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    """
    series: dict[str, list[float | None]] = {}
    for query in queries:
        if "MetricStat" in query:
            stat = query["MetricStat"]
            metric = {**stat["Metric"], "Statistic": stat["Stat"], "Period": stat["Period"]}
            series[query["Id"]] = _period_values(metric, count)
    expression = next(query["Expression"] for query in queries if "Expression" in query)
    tree = ast.parse(expression, mode="eval").body
    return [_calculate(tree, {name: values[at] for name, values in series.items()}) for at in range(count)]


def _calculate(node: ast.expr, values: dict[str, float | None]) -> float | None:
    if isinstance(node, ast.Constant):
        return float(str(node.value))
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "FILL":
        value, default = (_calculate(argument, values) for argument in node.args)
        return default if value is None else value
    if isinstance(node, ast.BinOp):
        left, right = _calculate(node.left, values), _calculate(node.right, values)
        return None if left is None or right is None else _OPERATORS[type(node.op)](left, right)
    raise ValueError(f"The local CloudWatch cannot calculate {ast.unparse(node)}")


def _period_values(alarm: Alarm, count: int) -> list[float | None]:
    """Return the alarm's statistic in each of its last periods, newest first; None for a period without data."""
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm.get("Dimensions") or []}
    key = (alarm["Namespace"], alarm["MetricName"], cloudwatch._dims_key(dimensions))
    period = scaled(int(alarm.get("Period") or 60))
    windows: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    now = time.time()
    for point in reversed(cloudwatch._metrics.get(key) or []):
        position = int(max(0.0, now - point["Timestamp"]) / period)
        if position >= count:
            break
        windows[position].append(point)
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
    return [
        cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points) if points else None
        for points in windows
    ]


def evaluate_forever() -> None:
    """Evaluate all alarms at the server's pace."""
    while True:
        time.sleep(max(0.1, scaled(EVALUATION_SECONDS)))
        for (account, region, name), alarm in cloudwatch._alarms.all_items():
            with request_scope(account, region):
                try:
                    evaluate(alarm)
                except Exception:
                    cloudwatch.logger.exception("Alarm %s cannot be evaluated", name)
