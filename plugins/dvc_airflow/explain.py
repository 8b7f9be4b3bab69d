"""Why a stage runs or does not: what differs between its inputs and those of the last run."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from dvc_airflow.lockfile import LockEntry, digest
from dvc_airflow.result import Outcome

SAME_INPUTS = "same inputs as in the last run; "


class Explanation(NamedTuple):
    """How a stage ends, why, and in which run its result was executed (None: not known, or not yet)."""

    outcome: Outcome
    reason: str
    executed_in: str | None


def explain(
    last: LockEntry | None,
    found: LockEntry | None,
    inputs: LockEntry,
    produced: frozenset[str],
    executed_by: Mapping[str, Any] | None,
    cause: str | None = None,
) -> Explanation:
    """Decide how a stage ends, and why.

    :param last: its lock entry of the last run of this DAG, if that is known.
    :param found: the lock entry of an earlier run with the same inputs, if there is one that may be used.
    :param inputs: the lock entry of this run, its outputs without hashes.
    :param produced: paths that stages make.
    :param executed_by: the run that executed the stage with the result ``found`` (``run_id``, ``at``), if known.
    :param cause: why it has to run whatever changed.
    """
    differences = "; ".join(input_changes(last, inputs, produced)) if last else ""
    if found is None:
        known = cause or ("no earlier run was found" if last is None else "the earlier result is no longer known")
        reason = differences if differences and not cause else _joined(differences, known)
        return Explanation(Outcome.EXECUTED, reason, None)
    run_id = executed_by["run_id"] if executed_by else None
    by = f"executed by {run_id} at {executed_by['at']}" if executed_by else "executed by an unknown run"
    if last is not None and digest(found) == digest(last):  # .nan is not equal to itself
        return Explanation(Outcome.UNCHANGED, f"{SAME_INPUTS}{by}", run_id)
    return Explanation(Outcome.RESTORED, _joined(differences, by), run_id)


def reproduction(known: LockEntry | None, now: LockEntry) -> str:
    """Say whether a stage that ran again reproduced the known result of the same inputs."""
    if known is None:
        return "there is no earlier result to compare with"
    if not now.get("outs"):
        return "it has no outputs to compare"
    before = {out["path"]: out.get("md5") for out in known.get("outs", [])}
    other = sorted(out["path"] for out in now.get("outs", []) if before.get(out["path"]) != out.get("md5"))
    return f"not reproduced: {', '.join(other)}" if other else "reproduced: all outputs are the same"


def _joined(*phrases: str) -> str:
    return "; ".join(phrase for phrase in phrases if phrase)


def input_changes(before: LockEntry, now: LockEntry, produced: frozenset[str] = frozenset()) -> list[str]:
    """Compare the inputs of two lock entries.

    :param produced: paths that stages make; all other dependencies are code or data of the project.
    :return: one phrase per difference, such as ``model.C 1.0 -> 2.5`` or ``include/stages/preprocess.py changed``.
    """
    params = before.get("params", {}), now.get("params", {})
    chosen = _chosen(*params)
    return [
        *(["the command changed"] if before.get("cmd") != now.get("cmd") else []),
        *_params(*params, chosen),
        *_dependencies(before.get("deps", []), now.get("deps", []), produced, chosen),
        *_outputs(before.get("outs", []), now.get("outs")),
    ]


def _params(before: Mapping[str, Any], now: Mapping[str, Any], chosen: set[str]) -> Iterator[str]:
    old, new = dict(_flat(before)), dict(_flat(now))
    for key in sorted(old.keys() | new.keys()):
        if key in old and key in new:
            if digest(old[key]) != digest(new[key]):
                yield f"{key} {_short(old[key])} -> {_short(new[key])}"
        elif not chosen.isdisjoint(key.split(".")[:-1]):
            continue
        elif key in new:
            yield f"{key} is new ({_short(new[key])})"
        else:
            yield f"{key} was removed"


def _chosen(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """The names that a changed value has and had, such as ``model.kind``: blocks and files that are called so come and
    go with it (``model.${model.kind}``, ``kinds/${model.kind}.py``), so that the value alone is the reason.
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    changed = [key for key in old.keys() & new.keys() if digest(old[key]) != digest(new[key])]
    return {value for key in changed for value in (old[key], new[key]) if isinstance(value, str)}


def _flat(files: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for values in files.values():
        yield from _leaves("", values)


def _leaves(prefix: str, values: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping) and values:
        for name, value in values.items():
            yield from _leaves(f"{prefix}.{name}" if prefix else str(name), value)
    else:
        yield prefix, values


def _dependencies(
    before: Sequence[Mapping[str, Any]],
    now: Sequence[Mapping[str, Any]],
    produced: frozenset[str],
    chosen: set[str],
) -> Iterator[str]:
    old, new = ({dep["path"]: dep.get("md5", dep.get("etag")) for dep in deps} for deps in (before, now))
    for path in sorted(old.keys() | new.keys()):
        if (path in old) != (path in new) and not chosen.isdisjoint((PurePath(path).stem, *PurePath(path).parts)):
            continue
        if path not in old:
            yield f"{path} is a new dependency"
        elif path not in new:
            yield f"{path} is no longer a dependency"
        elif new[path] is None and old[path] is not None:
            yield f"{path} is missing"
        elif old[path] != new[path]:
            yield f"{path} changed{' upstream' if path in produced else ''}"


def _outputs(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    """:param now: None where what is compared has none of them."""
    old = {out["path"] for out in before}
    new = old if now is None else {out["path"] for out in now}
    for path in sorted(old ^ new):
        yield f"{path} is a new output" if path in new else f"{path} is no longer an output"


def _short(value: Any) -> str:
    text = str(value).replace("\n", "\\n")  # in one line of the log
    return text if len(text) <= 60 else text[:57] + "..."
