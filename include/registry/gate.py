"""The gate before the alias `champion`: rules of config/config.yaml, applied to measured values. No server needed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from include.mlflow_client import CHAMPION
from include.settings import LOWER_IS_BETTER, RegistryConfig

# What two values may differ by and still count as equal: they are sums of floats (0.93 - 0.9 is not quite 0.03).
EPSILON = 1e-9


@dataclass(frozen=True)
class RuleResult:
    """One line of the verdict. ``change`` is challenger minus champion; both are None where there is no champion."""

    metric: str
    champion: float | None
    challenger: float
    change: float | None
    rule: str
    passed: bool


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a version.

    ``compared_with`` is the version that was champion before, ``champion`` the one afterwards; ``alias`` is what the
    evaluated version got, and ``is_new_champion`` says whether it became champion by that. ``note`` says how the two
    were compared, or why they were not.
    """

    version: str
    passed: bool
    alias: str
    compared_with: str | None
    champion: str | None
    note: str
    checks: list[RuleResult]
    is_new_champion: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return asdict(self)

    def table(self) -> str:
        """The verdict for people, as text."""
        return verdict_table(self.as_dict())


def evaluate(
    rule: RegistryConfig, challenger: Mapping[str, float], champion: Mapping[str, float] | None, *, newer: bool = True
) -> list[RuleResult]:
    """Apply the rules.

    :param challenger, champion: values by metric, measured on the same test rows; without a champion the minimum alone
        counts.
    :param newer: whether the challenger was registered after the champion. A tie goes to the newer one, so that it does
        not matter in which order several versions are evaluated.
    """
    checks = [_minimum(rule, challenger[rule.metric])]
    if champion is None:
        return checks
    checks.append(_gain(rule, challenger[rule.metric], champion[rule.metric], newer))
    for metric, tolerance in rule.tolerances.items():
        checks.append(_tolerance(metric, challenger[metric], champion[metric], tolerance))
    return checks


def verdict_table(verdict: Mapping[str, Any]) -> str:
    """A verdict as aligned text, one line per rule, for logs and notes."""
    rows = [("metric", "champion", "challenger", "change", "rule", "passed")]
    for check in verdict["checks"]:
        numbers = (_number(check["champion"]), _number(check["challenger"]), _number(check["change"], sign=True))
        rows.append((check["metric"], *numbers, check["rule"], "yes" if check["passed"] else "no"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def why_not_champion(verdict: Mapping[str, Any]) -> str | None:
    """Why the version of a verdict did not become champion, in a line; None if it did, or was it already."""
    if verdict["alias"] == CHAMPION:
        return None
    if verdict["passed"]:
        remedy = f"`python -m include promote {verdict.get('version', 'VERSION')}` makes it champion"
        return f"it passes the gate, but nobody has approved it (registry.approval is manual); {remedy}"
    failed = [check for check in verdict["checks"] if not check["passed"]]
    compared = verdict.get("compared_with") is None or len(verdict["checks"]) > 1
    return "; ".join([*map(_failure, failed), *([] if failed and compared else [verdict["note"]])])


def _failure(check: Mapping[str, Any]) -> str:
    champion = "" if check["champion"] is None else f", the champion's is {_number(check['champion'])}"
    key = " (registry.minimum)" if check["champion"] is None else ""
    return f"{check['metric']} is {_number(check['challenger'])}{champion}; required: {check['rule']}{key}"


def _number(value: float | None, *, sign: bool = False) -> str:
    return "-" if value is None else f"{value:+.4f}" if sign else f"{value:.4f}"


def _minimum(rule: RegistryConfig, value: float) -> RuleResult:
    lower = rule.metric in LOWER_IS_BETTER
    passed = value <= rule.minimum + EPSILON if lower else value >= rule.minimum - EPSILON
    return RuleResult(rule.metric, None, value, None, f"at {'most' if lower else 'least'} {rule.minimum:g}", passed)


def _gain(rule: RegistryConfig, value: float, champion: float, newer: bool) -> RuleResult:
    gain = _better_by(rule.metric, value, champion)
    tied = abs(gain) <= EPSILON
    passed = gain >= rule.min_gain - EPSILON and (newer or not tied)
    wanted = f"better by {rule.min_gain:g}" if rule.min_gain else f"not worse{'' if newer else ', and better if older'}"
    return RuleResult(rule.metric, champion, value, value - champion, wanted, passed)


def _tolerance(metric: str, value: float, champion: float, tolerance: float) -> RuleResult:
    passed = _better_by(metric, value, champion) >= -tolerance - EPSILON
    return RuleResult(metric, champion, value, value - champion, f"not worse by more than {tolerance:g}", passed)


def _better_by(metric: str, value: float, champion: float) -> float:
    return champion - value if metric in LOWER_IS_BETTER else value - champion
