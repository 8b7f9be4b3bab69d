"""What is different between a run and the one before it."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dvc_airflow.run_page.details import Details
from dvc_airflow.run_page.runs import Run

Sections = Mapping[str, Mapping[str, Any]]
RESULTS = ("outputs", "metrics")  # what comes of the others
LENGTH = 200  # characters of a value


@dataclass(frozen=True)
class Change:
    """A value that is another one than in the run before. Both are text, cut if they are long."""

    section: str
    name: str
    before: str
    now: str

    @property
    def is_cause(self) -> bool:
        """Whether it is something that runs are given, as opposed to what they make of it."""
        return self.section not in RESULTS


def changes(now: Sections, before: Sections) -> list[Change]:
    """What differs, by section; of what one of the two does not have, the text is ``-``.

    A section that one of them lacks altogether is not compared: nothing is known of it.
    """
    return [
        Change(section, name, _text(before[section].get(name)), _text(values.get(name)))
        for section, values in now.items()
        if section in before
        for name in dict.fromkeys([*values, *before[section]])
        if values.get(name) != before[section].get(name)
    ]


def compared(runs: Sequence[Run], details: Sequence[Details]) -> list[tuple[Run, list[Change]] | None]:
    """For each of the runs, newest first, the run before that has results, and what changed since; None without one."""
    found: list[tuple[Run, list[Change]] | None] = []
    for number, (run, said) in enumerate(zip(runs, details, strict=True)):
        before = next((at for at in range(number + 1, len(runs)) if runs[at].has_results), None)
        if before is None or not run.has_results:
            found.append(None)
            continue
        stages = _comparable(run, runs[before])
        pair = _sections(run, said, stages), _sections(runs[before], details[before], stages)
        found.append((runs[before], changes(*pair)))
    return found


def _comparable(run: Run, before: Run) -> set[str]:
    """Stages that both have a result of; of two runs that succeeded all, for a stage that one lacks is a difference."""
    one, other = ({stage.name for stage in each.stages if stage.ended} for each in (run, before))
    return one | other if (run.state, before.state) == ("success", "success") else one & other


def _sections(run: Run, details: Details, stages: Collection[str]) -> Sections:
    """What a run was given and made: of these stages, and of the project."""
    entries = {
        name: entry
        for stage in run.stages
        if stage.ended and stage.name in stages
        for locked in stage.ended.lock.values()
        for name, entry in locked.items()
    }
    outputs = _files(entries.values(), "outs")
    inputs = {path: md5 for path, md5 in _files(entries.values(), "deps").items() if path not in outputs}
    parameters = {
        f"{file}: {key}": value
        for entry in entries.values()
        for file, values in (entry.get("params") or {}).items()
        for key, value in (values or {}).items()
    }
    commands = {name: entry.get("cmd") for name, entry in entries.items()}
    own: Sections = {"parameters": parameters, "inputs": inputs, "commands": commands, "outputs": outputs}
    return {**own, **details.compared, **({"metrics": details.metrics} if details.metrics else {})}


def _files(entries: Any, role: str) -> dict[str, str | None]:
    return {item["path"]: hash_of(item) for entry in entries for item in entry.get(role) or ()}


def hash_of(item: Mapping[str, Any]) -> str | None:
    """The hash of a dependency or output of a lock entry, whichever DVC has of its kind."""
    return next((str(item[kind]) for kind in ("md5", "etag", "checksum") if item.get(kind)), None)


def _text(value: Any) -> str:
    """A value as its file has it, more or less."""
    text = (
        "-"
        if value is None
        else value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, default=str)
    )
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}…"
