"""What the test rows cannot tell, though the rules ask for it: said with each verdict."""

import math
from collections.abc import Sequence

from include.registry.evidence import EPSILON, Evidence
from include.registry.gate import RuleResult, change_in_words, percent
from include.settings import LOWER_IS_BETTER, RegistryConfig

MOST = 3  # groups that a warning names
ONE_BY_ONE = ("test_accuracy", "test_recall[")  # metrics that are a share of the rows


def warnings_of(rule: RegistryConfig, checks: Sequence[RuleResult], evidence: Evidence | None) -> list[str]:
    """What a person should know before she believes the verdict, a line each."""
    shown = [check for check in checks if check.lower is not None]
    whole = [check for check in shown if not check.key.startswith("registry.slices")]
    groups = [check for check in shown if check not in whole]
    lenient = rule.evidence == "not_shown_worse"
    lines = [_too_few(check, evidence) for check in whole if _cannot_tell(check, lenient=lenient)]
    if lines and evidence and evidence.pair.agree:
        lines.append("champion and challenger predict the same class for every test row")
    lines += _summed([_too_few(check, evidence) for check in groups if _cannot_tell(check, lenient=lenient)])
    if lenient:
        lines += _summed([_fell(check) for check in shown if _loses_more(check)])
    return [*lines, *(evidence.warnings if evidence else ())]


def _cannot_tell(check: RuleResult, *, lenient: bool) -> bool:
    """Whether the interval is wider than the difference in question, and the answer is not shown all the same.

    What is shown makes the strict rules pass, and the lenient one fail.
    """
    is_shown = check.passed != lenient
    return not is_shown and bool(check.difference) and _half(check) > (check.difference or 0)


def _half(check: RuleResult) -> float:
    return ((check.upper or 0) - (check.lower or 0)) / 2


def _too_few(check: RuleResult, evidence: Evidence | None) -> str:
    rows, difference = check.rows or 0, check.difference or math.nan
    one = f" (one row is {1 / rows:.4f})" if check.metric.startswith(ONE_BY_ONE) else ""
    # The interval shrinks as the square root of the rows; where only the imagined ones differ, as the rows themselves.
    needed = _rounded(rows * (_half(check) / difference) ** (1 if evidence and _same(check, evidence) else 2))
    return (
        f"{rows} test rows{one} give {check.metric} a {percent(check.confidence or 0)} interval of "
        f"±{_half(check):.3f}: a difference of {difference:g} ({check.key}) cannot be told; that takes about {needed} "
        "rows"
    )


def _same(check: RuleResult, evidence: Evidence) -> bool:
    """Whether the models' answers to the rows of a rule are the same."""
    for group in evidence.groups:
        if group.label == check.metric:
            return group.pair.same(group.metric)
    return evidence.pair.same(check.metric.removeprefix("test_"))


def _rounded(count: float) -> str:
    """Up to two digits."""
    step = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return f"{math.ceil(count / step) * step:,}"


def _loses_more(check: RuleResult) -> bool:
    """Whether the value alone breaks a rule that lets it pass, for chance may have done it."""
    loss = (check.change or 0) * (1 if check.metric.partition("[")[0] in LOWER_IS_BETTER else -1)
    return check.passed and loss > (check.difference or 0) + EPSILON


def _fell(check: RuleResult) -> str:
    what = f"worse by more than {check.difference:g} ({check.key})" if check.difference else "worse"
    return f"{check.metric} is {what}, but {check.rows} test rows do not show it: {change_in_words(vars(check))}"


def _summed(lines: list[str]) -> list[str]:
    more = len(lines) - MOST
    return [*lines[:MOST], f"and {more} more warnings like the last one"] if more > 0 else lines
