"""Which versions have been champion, and why: kept as tags of the registered model, which nothing overwrites."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

PREFIX = "champion."
TIME = "%Y-%m-%dT%H%M%S.%fZ"
PREVIOUS = "previous"  # the version that was champion before
Kind = Literal["promotion", "roll-back"]


@dataclass(frozen=True)
class ChampionChange:
    """A version became champion in place of another (``before``; None: there was none).

    ``at`` is the time (UTC); ``by`` says who or what did it, ``token`` which task: its retry goes on from there.
    """

    at: str
    kind: Kind
    version: str
    before: str | None
    reason: str
    by: str
    token: str

    @classmethod
    def now(cls, kind: Kind, version: str, before: str | None, reason: str, by: str, token: str) -> "ChampionChange":
        """A change that happens now."""
        return cls(datetime.now(UTC).strftime(TIME), kind, version, before, reason, by, token)

    def after(self, history: "Sequence[ChampionChange]") -> "ChampionChange":
        """The same, but later than all of the history: clocks of workers differ."""
        if not history or self.at > history[-1].at:
            return self
        at = datetime.strptime(history[-1].at, TIME).replace(tzinfo=UTC) + timedelta(microseconds=1)
        return replace(self, at=at.strftime(TIME))

    def described(self) -> str:
        """For people, such as ``roll-back from version 3 to 2 on 2026-11-27 08:15 UTC by anna (wrong labels)``."""
        when = f"{datetime.strptime(self.at, TIME).replace(tzinfo=UTC):%Y-%m-%d %H:%M} UTC"
        versions = f"from version {self.before} to {self.version}" if self.before else f"to version {self.version}"
        return f"{self.kind} {versions} on {when} by {self.by} ({self.reason})"

    def tag(self) -> tuple[str, str]:
        """As a tag: name and value."""
        return f"{PREFIX}{self.at}", json.dumps(asdict(self))


def champion_changes(tags: Mapping[str, str]) -> list[ChampionChange]:
    """The changes that a registered model's tags record, oldest first."""
    found = []
    for name in sorted(tags):
        with suppress(ValueError, TypeError):  # a tag that a person made
            if name.startswith(PREFIX):
                found.append(ChampionChange(**json.loads(tags[name])))
    return found


def completed(history: Sequence[ChampionChange], champion: str | None) -> list[ChampionChange]:
    """The changes that took place: a process may have ended after it wrote one down, and before it made it.

    Such a change left the alias where it was; another champion afterwards means that it was made, and that a
    person may have moved the alias since.

    :param champion: the version that holds the alias now.
    """
    afterwards = [*(change.before for change in history[1:]), champion]
    return [
        change
        for change, after in zip(history, afterwards, strict=False)
        if after == change.version or after != change.before
    ]


def promotion_chain(history: Sequence[ChampionChange], champion: str | None) -> list[str]:
    """The versions that led to the champion, which comes last; a version that was rolled back from is not among them.

    :param champion: the version that holds the alias now; it may have been given by hand.
    """
    versions: list[str] = []
    for change in completed(history, champion):
        if not versions and change.before:
            versions.append(change.before)
        if change.version in versions and change.kind == "roll-back":
            del versions[versions.index(change.version) + 1 :]
        elif not versions or versions[-1] != change.version:
            versions.append(change.version)
    if champion and champion not in versions[-1:]:
        versions.append(champion)
    return versions


def rolled_back(history: Sequence[ChampionChange], champion: str | None) -> dict[str, ChampionChange]:
    """The versions that were rolled back from, and have not been champion since; and when that was."""
    found: dict[str, ChampionChange] = {}
    for change in completed(history, champion):
        if change.kind == "roll-back" and change.before:
            found[change.before] = change
        found.pop(change.version, None)
    return found
