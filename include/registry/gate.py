"""The gate before the alias `champion`: rules of config/config.yaml, applied to measured values. No server needed."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from include.mlflow_client import CHAMPION
from include.registry.bootstrap import Bounds, bounds
from include.registry.evidence import EPSILON, Claim, Evidence, claim_of_gain, claim_within
from include.registry.paired import better_by, value
from include.registry.slices import Group
from include.settings import LOWER_IS_BETTER, RegistryConfig


@dataclass(frozen=True)
class RuleResult:
    """One line of the verdict.

    ``change`` is challenger minus champion, and ``lower`` and ``upper`` are its bounds, which hold at ``confidence``;
    all are None where there is no champion, or where values are compared as they are. ``difference`` is what the rule
    asks to be told apart, ``rows`` on how many test rows. ``key`` is the key of the configuration that has the rule.
    """

    metric: str
    champion: float | None
    challenger: float
    change: float | None
    rule: str
    passed: bool
    key: str = "registry.minimum"
    lower: float | None = None
    upper: float | None = None
    confidence: float | None = None
    difference: float | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a version.

    ``compared_with`` is the version that was champion before, ``champion`` the one afterwards; ``alias`` is what the
    evaluated version got, and ``is_new_champion`` says whether it became champion by that. ``note`` says how the two
    were compared, or why they were not; ``warnings`` what the test rows cannot tell.
    """

    version: str
    passed: bool
    alias: str
    compared_with: str | None
    champion: str | None
    note: str
    checks: list[RuleResult]
    is_new_champion: bool = False
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return asdict(self)

    def table(self) -> str:
        """The verdict for people, as text."""
        return verdict_table(self.as_dict())

    def table_worst_first(self) -> str:
        """The same for where the end may be cut off: rules that failed, then warnings, then rules that hold."""
        head, *lines = self.table().splitlines()
        results, warnings = lines[: len(self.checks)], lines[len(self.checks) :]
        by_passed = {
            passed: [line for line, check in zip(results, self.checks, strict=True) if check.passed == passed]
            for passed in (True, False)
        }
        return "\n".join([head, *by_passed[False], *warnings, *by_passed[True]])


def evaluate(
    rule: RegistryConfig,
    challenger: Mapping[str, float],
    champion: Mapping[str, float] | None,
    *,
    newer: bool = True,
    evidence: Evidence | None = None,
    between: Callable[[], None] = lambda: None,
) -> list[RuleResult]:
    """Apply the rules.

    :param challenger, champion: values by metric, measured on the same test rows; without a champion the minimum alone
        counts, of all rows and of each group.
    :param newer: whether the challenger was registered after the champion. A tie goes to the newer one, so that it does
        not matter in which order several versions are evaluated.
    :param evidence: of these rows; needed where the rules have a confidence or slices.
    :param between: called before each comparison, which may take seconds.
    :raises ValueError: it is needed, and not given.
    """
    if evidence is None and champion is not None and rule.confidence is not None:
        raise ValueError("registry.confidence is set, but there are no predictions to resample")
    checks = [_minimum(rule.metric, rule.metric, rule.minimum, challenger[rule.metric])]
    between()
    if champion is not None:
        checks.append(_gain(rule, challenger[rule.metric], champion[rule.metric], newer, evidence))
        for metric, tolerance in rule.tolerances.items():
            between()
            checks.append(_tolerance(rule, metric, challenger[metric], champion[metric], tolerance, evidence))
    for group in evidence.groups if evidence else ():
        between()
        checks += _of_group(rule, group, evidence, compared=champion is not None)
    return checks


def why_not_champion(verdict: Mapping[str, Any]) -> str | None:
    """Why the version of a verdict did not become champion, in a line; None if it did, or was it already."""
    if verdict["alias"] == CHAMPION:
        return None
    if verdict["passed"]:
        remedy = f"`python -m include promote {verdict.get('version', 'VERSION')}` makes it champion"
        return f"it passes the gate, but nobody has approved it (registry.approval is manual); {remedy}"
    failed = [check for check in verdict["checks"] if not check["passed"]]
    compared = verdict.get("compared_with") is None or any(check["change"] is not None for check in verdict["checks"])
    return "; ".join([*map(_failure, failed), *([] if failed and compared else [verdict["note"]])])


def _failure(check: Mapping[str, Any]) -> str:
    if check.get("lower") is not None:
        return f"{check['metric']} is {_negated(check['rule'])}: {change_in_words(check)}"
    champion = "" if check["champion"] is None else f", the champion's is {number(check['champion'])}"
    key = f" ({check.get('key', 'registry.minimum')})" if check["champion"] is None else ""
    return f"{check['metric']} is {number(check['challenger'])}{champion}; required: {check['rule']}{key}"


def _negated(rule: str) -> str:
    return rule.removeprefix("not ") if rule.startswith("not ") else f"not {rule}"


def change_in_words(check: Mapping[str, Any]) -> str:
    """The change with its interval, such as ``+0.0100, 95 % interval -0.0300 to +0.0500``."""
    confidence = confidence_in_words(check)
    interval = f"{number(check['lower'], sign=True)} to {number(check['upper'], sign=True)}"
    return f"{number(check['change'], sign=True)}, {confidence} interval {interval}"


def confidence_in_words(check: Mapping[str, Any]) -> str:
    """Of an interval, such as ``95 %``; those of groups may hold for all of them together (see `Evidence`)."""
    together = check.get("key", "").startswith("registry.slices") and check["rule"].startswith("not shown")
    return f"{percent(check['confidence'])}{' (all groups together)' if together else ''}"


def verdict_table(verdict: Mapping[str, Any]) -> str:
    """A verdict as aligned text, one line per rule, for logs and notes; warnings below."""
    checks = verdict["checks"]
    confidence = next((check["confidence"] for check in checks if check.get("confidence")), None)
    interval = [f"{percent(confidence)} interval"] if confidence else []
    rows = [["metric", "champion", "challenger", "change", *interval, "rule", "passed"]]
    for check in checks:
        values = [number(check["champion"]), number(check["challenger"]), number(check["change"], sign=True)]
        bounded = check.get("lower") is not None
        between = f"{number(check['lower'], sign=True)} to {number(check['upper'], sign=True)}" if bounded else "-"
        passed = "yes" if check["passed"] else "no"
        rows.append([check["metric"], *values, *([between] if interval else []), check["rule"], passed])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in verdict.get("warnings", ()))])


def number(one: float | None, *, sign: bool = False) -> str:
    """A value with four digits behind the point."""
    return "-" if one is None else f"{one:+.4f}" if sign else f"{one:.4f}"


def percent(confidence: float) -> str:
    """0.95 as ``95 %``."""
    return f"{100 * confidence:.10g} %"


class _Values(NamedTuple):
    """Both models' values by a metric, which is named without the part; ``label`` is its name in the verdict."""

    label: str
    metric: str
    champion: float
    challenger: float


def _minimum(label: str, metric: str, minimum: float, found: float, key: str = "registry.minimum") -> RuleResult:
    lower = metric in LOWER_IS_BETTER
    passed = found <= minimum + EPSILON if lower else found >= minimum - EPSILON
    return RuleResult(label, None, found, None, f"at {'most' if lower else 'least'} {minimum:g}", passed, key)


def _gain(rule: RegistryConfig, found: float, champion: float, newer: bool, evidence: Evidence | None) -> RuleResult:
    values = _Values(rule.metric, rule.metric.removeprefix("test_"), champion, found)
    if rule.confidence is not None and evidence:
        key = "registry.margin" if rule.evidence == "non_inferiority" else "registry.min_gain"
        between = evidence.bounds(rule.metric, rule.confidence)
        claim = claim_of_gain(rule, between, newer=newer)
        return _claimed(values, key, claim, between, rule.confidence, len(evidence.pair))
    gain = better_by(values.metric, found, champion)
    tied = abs(gain) <= EPSILON
    passed = gain >= rule.min_gain - EPSILON and (newer or not tied)
    wanted = f"better by {rule.min_gain:g}" if rule.min_gain else f"not worse{'' if newer else ', and better if older'}"
    return RuleResult(rule.metric, champion, found, found - champion, wanted, passed, "registry.min_gain")


def _tolerance(
    rule: RegistryConfig, metric: str, found: float, champion: float, tolerance: float, evidence: Evidence | None
) -> RuleResult:
    values, key = _Values(metric, metric.removeprefix("test_"), champion, found), f"registry.tolerances.{metric}"
    if rule.confidence is not None and evidence:
        between = evidence.bounds(metric, rule.confidence)
        claim = claim_within(rule, between, tolerance)
        return _claimed(values, key, claim, between, rule.confidence, len(evidence.pair))
    return _within(values, tolerance, key)


def _of_group(rule: RegistryConfig, group: Group, evidence: Evidence | None, *, compared: bool) -> list[RuleResult]:
    """What is asked of a group of test rows."""
    pair, checks = group.pair, []
    champion, found = (value(group.metric, pair.rows, answers) for answers in (pair.champion, pair.challenger))
    if group.minimum is not None:
        key = f"{group.key}.minimum"
        checks.append(_minimum(group.label, f"test_{group.metric}", group.minimum, found, key))
    if group.tolerance is None or not compared:
        return checks
    values, key = _Values(group.label, group.metric, champion, found), f"{group.key}.tolerance"
    if rule.confidence is None or evidence is None:
        return [*checks, _within(values, group.tolerance, key)]
    between = bounds(pair, group.metric, evidence.confidence_of_groups(rule))
    claim = claim_within(rule, between, group.tolerance)
    return [*checks, _claimed(values, key, claim, between, rule.confidence, len(pair))]


def _within(values: _Values, tolerance: float, key: str) -> RuleResult:
    label, metric, champion, found = values
    passed = better_by(metric, found, champion) >= -tolerance - EPSILON
    return RuleResult(label, champion, found, found - champion, f"not worse by more than {tolerance:g}", passed, key)


def _claimed(values: _Values, key: str, claim: Claim, gain: Bounds, confidence: float, rows: int) -> RuleResult:
    """The bounds are of the gain, and those of a result of the change: where lower is better, the other way round.

    Bounds of rows that show nothing are None in the result, for infinity is no JSON.
    """
    label, metric, champion, found = values
    between = (-gain.upper, -gain.lower) if f"test_{metric}" in LOWER_IS_BETTER else gain
    lower, upper = between if all(map(math.isfinite, between)) else (None, None)
    wanted, passed, difference = claim
    change = found - champion
    return RuleResult(label, champion, found, change, wanted, passed, key, lower, upper, confidence, difference, rows)
