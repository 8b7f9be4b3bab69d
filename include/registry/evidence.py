"""What the test rows show of champion and challenger: each rule of the gate as a claim about a gain and its bounds.

Superiority and non-inferiority are as in trials (ICH E9, sections 3.3.2 and 5.5; CONSORT 2012, JAMA 308): the interval
of the gain lies above 0, or above the margin below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from include.registry.bootstrap import Bounds, bounds
from include.registry.paired import Pair
from include.registry.slices import Group
from include.settings import RegistryConfig

# What two values may differ by and still count as equal: they are sums of floats (0.93 - 0.9 is not quite 0.03).
EPSILON = 1e-9


@dataclass(frozen=True)
class Evidence:
    """Both models' answers to all test rows, the groups to look at, and what is to be known of groups left out.

    Without a champion the challenger stands on both sides.
    """

    pair: Pair
    groups: Sequence[Group] = ()
    warnings: Sequence[str] = field(default_factory=tuple)

    def bounds(self, metric: str, confidence: float) -> Bounds:
        """Of the gain by a metric such as ``test_accuracy``, on all test rows."""
        return bounds(self.pair, metric.removeprefix("test_"), confidence)

    def confidence_of_groups(self, rule: RegistryConfig) -> float:
        """Of the bounds of each group.

        Where a loss that is shown in any group blocks, chance has as many occasions as there are groups, and each gets
        its share of the level (Bonferroni): so the bounds hold for all of them together. Where all groups have to be
        shown to be within their tolerance, each at the full level is right (Berger 1982, Technometrics 24:
        intersection-union tests).
        """
        confidence = rule.confidence or 0.0
        tested = sum(group.tolerance is not None for group in self.groups)
        return 1 - (1 - confidence) / max(1, tested) if rule.evidence == "not_shown_worse" else confidence


class Claim(NamedTuple):
    """What has to be shown, in words, whether it is, and the difference that it is about (0: which is better)."""

    rule: str
    passed: bool
    difference: float


def claim_of_gain(rule: RegistryConfig, gain: Bounds, *, newer: bool) -> Claim:
    """Whether the challenger may take the champion's place by `registry.metric`.

    A tie goes to the newer version; an older one has to be shown to be better, whatever the rule for newer ones.
    """
    if rule.evidence == "superiority":
        wanted = f"shown better by more than {rule.min_gain:g}" if rule.min_gain else "shown better"
        return Claim(wanted, gain.lower > rule.min_gain + EPSILON, rule.min_gain)
    if not newer:
        return Claim("shown better, for it is older", gain.lower > EPSILON, 0.0)
    if rule.evidence == "non_inferiority":
        return claim_within(rule, gain, rule.margin)
    return Claim("not shown worse", gain.upper >= -EPSILON, 0.0)


def claim_within(rule: RegistryConfig, gain: Bounds, tolerance: float) -> Claim:
    """Whether a loss is within a tolerance.

    A small group or test set cannot show that it is, and would block every model; so the lenient rule asks only that
    the loss is not shown to exceed the tolerance, and a loss that exceeds it by value alone is a warning.
    """
    if rule.evidence == "not_shown_worse":
        return Claim(f"not shown worse by more than {tolerance:g}", gain.upper >= -tolerance - EPSILON, tolerance)
    return Claim(f"shown not worse by more than {tolerance:g}", gain.lower >= -tolerance - EPSILON, tolerance)
