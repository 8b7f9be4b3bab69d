"""What is different between two runs."""

from collections.abc import Mapping
from typing import Any

from include.lineage.manifest import DATA, Manifest

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


def _code_files(manifest: Manifest) -> dict[str, str | None]:
    made = {record.path for record in manifest.outputs}
    return {record.path: record.md5 for record in manifest.files if record.path not in made}


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    names = list(dict.fromkeys([*one, *other]))
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}
