"""What is different between two runs."""

from collections.abc import Mapping
from typing import Any

from include.lineage.manifest import DATA, Manifest
from include.settings.config_file import PIPELINE, is_fixed

Pair = tuple[Any, Any]


def differences(one: Manifest, other: Manifest) -> dict[str, dict[str, Pair]]:
    """Configuration, data (md5), metrics, code and packages that differ: section -> name -> (one, other)."""
    return {
        "config": _pairs(flat(one.config), flat(other.config)),
        "data": _pairs(*({name: run.md5_of(name) for name in DATA} for run in (one, other))),
        "metrics": _pairs(one.metrics, other.metrics),
        "code": _pairs(
            {"git_sha": str(one.code), **_code_files(one)}, {"git_sha": str(other.code), **_code_files(other)}
        ),
        "packages": _pairs(one.packages, other.packages),
    }


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """``{"model": {"C": 1.0}}`` -> ``{"model.C": 1.0}``."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{key}": inner for key, inner in flat(value).items()}
        else:
            found[name] = value
    return found


def own_values(config: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a run's configuration that config/config.yaml now has otherwise, by key.

    Without those that are the same for all runs, that belong to another DAG, and the date and version of the source
    that each run fills in where the file leaves them open.
    """
    run, file = flat({name: config[name] for name in PIPELINE if name in config}), flat(now)
    left_open = {
        "data.version": file.get("data.version") is None,
        "data.source": "{date" in str(file.get("data.source")),
    }
    return {
        name: value
        for name, value in run.items()
        if value != file.get(name) and not is_fixed(name) and not left_open.get(name)
    }


def _code_files(manifest: Manifest) -> dict[str, str | None]:
    made = {record.path for record in manifest.outputs}
    return {record.path: record.md5 for record in manifest.files if record.path not in made}


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    names = list(dict.fromkeys([*one, *other]))
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}
