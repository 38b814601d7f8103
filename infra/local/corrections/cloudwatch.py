"""CloudWatch alarms that are evaluated as time passes, on their own dimensions, with missing data.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import cloudwatch

from infra.local.settings import scaled

EVALUATION_SECONDS = 60.0

Alarm = dict[str, Any]

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


def install() -> None:
    """Replace the evaluation of one alarm, and start evaluating all of them at the server's pace."""
    cloudwatch._evaluate_alarm = evaluate
    threading.Thread(target=_evaluate_forever, name="alarms", daemon=True).start()


def evaluate(alarm: Alarm) -> None:
    """Set the alarm's state from its last periods, and tell whom it names when that changed it."""
    # An alarm on anomaly detection or metric math has neither one metric nor one comparison.
    compare = _COMPARISONS.get(alarm.get("ComparisonOperator", ""))
    if not alarm.get("MetricName") or compare is None:
        return
    values = _period_values(alarm)
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


def _period_values(alarm: Alarm) -> list[float | None]:
    """The alarm's statistic in each of its last periods, newest first; None where nothing was published."""
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm.get("Dimensions") or []}
    key = (alarm["Namespace"], alarm["MetricName"], cloudwatch._dims_key(dimensions))
    period, count = scaled(int(alarm.get("Period") or 60)), int(alarm["EvaluationPeriods"])
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


def _evaluate_forever() -> None:
    while True:
        time.sleep(max(0.1, scaled(EVALUATION_SECONDS)))
        for (account, region, name), alarm in cloudwatch._alarms.all_items():
            with request_scope(account, region):
                try:
                    evaluate(alarm)
                except Exception:
                    cloudwatch.logger.exception("Alarm %s cannot be evaluated", name)
