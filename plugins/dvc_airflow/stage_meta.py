"""``meta.airflow`` of a stage in dvc.yaml: its Airflow settings, where the stage is defined."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dvc_airflow.arguments import module_names
from dvc_airflow.param_types import as_given
from dvc_airflow.pod import pod_override
from dvc_airflow.project import DvcProjectError, StageSpec
from dvc_airflow.variables import Variables

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


def _duration(value: Any) -> timedelta:
    """Seconds, or a text such as ``90s``, ``5m``, ``1.5h`` or ``2d``."""
    with suppress(OverflowError, ValueError):  # too long, or none
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return timedelta(seconds=value)
        if isinstance(value, str) and (found := DURATION.fullmatch(value.strip())):
            return timedelta(**{UNITS[found[2]]: float(found[1])})
    raise ValueError("give seconds as a number, or a text such as 90s, 5m, 1.5h or 2d")


def _checked(check: Callable[[Any], Any]) -> BeforeValidator:
    def validate(value: Any) -> Any:
        check(value)
        return value

    return BeforeValidator(validate)


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class StageMeta(BaseModel):
    """The keys of ``meta.airflow``. But for the last three they are arguments of Airflow's operators."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pool: str | None = None
    pool_slots: Annotated[int, Field(ge=1)] | None = None
    queue: str | None = None
    priority_weight: int | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    retry_delay: Duration | None = None
    execution_timeout: Duration | None = None
    executor: str | None = None
    #: the pod override of the KubernetesExecutor, as in Kubernetes' own YAML
    pod: dict[str, Any] | None = None
    #: names of variables that the command gets, see `dvc_airflow.variables.Variables`
    env: Annotated[Any, _checked(Variables.of)] = None
    #: names of modules that the command finds imported
    warm: Annotated[list[str], _checked(module_names)] | None = None

    def operator_arguments(self, *, with_pod: bool) -> dict[str, Any]:
        """The settings as arguments of `dvc_airflow.operators.DvcStageOperator`.

        :raises ValueError: ``pod`` is no pod.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) is not None}
        pod = given.pop("pod", None)
        if pod is not None and with_pod:
            given["executor_config"] = {"pod_override": pod_override(pod)}
        return given


def meta_arguments(stage: StageSpec, *, with_pod: bool = True) -> dict[str, Any]:
    """What a stage's ``meta.airflow`` says, as arguments of its operator.

    :param with_pod: whether they have its ``pod``, which takes Kubernetes' client.
    :raises DvcProjectError: a key is unknown or a value is wrong; with the file and line.
    """
    if stage.airflow is None:
        return {}
    if not isinstance(stage.airflow, Mapping):
        raise _error(stage, "", "meta.airflow holds settings by name, such as `pool: training`")
    try:
        return StageMeta.model_validate(stage.airflow).operator_arguments(with_pod=with_pod)
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0]) if problem["loc"] else ""
        raise _error(stage, key, _reason(key, problem)) from None
    except ValueError as error:
        raise _error(stage, "pod", f"pod: {error}") from None


def check_meta(stages: Iterable[StageSpec]) -> None:
    """Check ``meta.airflow`` of stages, perhaps not where Airflow runs: a pod only where Kubernetes' client is.

    :raises DvcProjectError: see `meta_arguments`.
    """
    for stage in stages:
        meta_arguments(stage, with_pod=find_spec("kubernetes") is not None)


def _reason(key: str, problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        known = list(StageMeta.model_fields)
        near = get_close_matches(key, known, 1, 0.5)
        return f"meta.airflow has no key {key}" + (f"; did you mean {near[0]}?" if near else f" ({', '.join(known)})")
    where = ".".join(map(str, problem["loc"]))
    reason = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if reason.startswith(f"{where}:"):  # of the operators' own arguments; the value may be a secret
        return f"{reason}."
    return f"{where}: {reason}, not {as_given(problem['input'])}"


def _error(stage: StageSpec, key: str, reason: str) -> DvcProjectError:
    line = stage.lines.get(key) or stage.lines.get("")
    return DvcProjectError(f"{stage.file}{f':{line}' if line else ''}: stage {stage.name}: {reason}")
