"""``pod`` of a stage: what the KubernetesExecutor's pod for it has beside, or instead of, that of all tasks."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

if TYPE_CHECKING:
    from kubernetes.client import V1Pod


def pod_override(pod: Mapping[str, Any]) -> "V1Pod":
    """A pod from what Kubernetes' own YAML says of it.

    :raises ValueError: a field is unknown, missing or of a wrong type; or Kubernetes' client is not installed.
    """
    try:
        from kubernetes.client import ApiClient, V1Pod
    except ImportError:
        raise ValueError(
            "the package kubernetes is not installed: pip install 'airflow-provider-dvc[kubernetes]'"
        ) from None
    client = ApiClient()
    try:
        model: V1Pod = client._ApiClient__deserialize_model(_with_quantities(pod), V1Pod)
        kept = client.sanitize_for_serialization(model)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{_reason(error)}. It is written as in the pod's own YAML: spec, containers, ...") from None
    if lost := next(_lost(pod, kept, ""), None):
        raise ValueError(f"Kubernetes knows no field {lost} of a pod, or not with such a value")
    return model


def _with_quantities(value: Any) -> Any:
    """Numbers of resources (``nvidia.com/gpu: 1``) as texts, which is what Kubernetes' client takes."""
    if isinstance(value, Mapping):
        return {
            name: {key: _quantity(one) for key, one in inner.items()}
            if name in ("limits", "requests") and isinstance(inner, Mapping)
            else _with_quantities(inner)
            for name, inner in value.items()
        }
    return [_with_quantities(one) for one in value] if isinstance(value, list) else value


def _quantity(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _reason(error: Exception) -> str:
    """What is wrong, in a line; newer versions of the client say it by Pydantic."""
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return ": ".join(filter(None, (error.title, ".".join(map(str, problem["loc"])), problem["msg"])))
    return str(error)


def _lost(given: Any, kept: Any, where: str) -> Iterator[str]:
    """The fields that Kubernetes' client has dropped."""
    if isinstance(given, Mapping):
        for name, value in given.items():
            path = f"{where}.{name}".lstrip(".")
            if not isinstance(kept, Mapping) or name not in kept:
                if value is not None:
                    yield path
            else:
                yield from _lost(value, kept[name], path)
    elif isinstance(given, list):
        if not isinstance(kept, list) or len(kept) != len(given):
            yield where
        else:
            for number, (one, other) in enumerate(zip(given, kept, strict=True)):
                yield from _lost(one, other, f"{where}[{number}]")
