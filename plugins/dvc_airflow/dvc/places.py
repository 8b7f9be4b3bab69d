"""Where a checkout of a project has its cache and its remote, by DVC's configuration. Nothing is written."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.config import Config, ConfigError

from dvc_airflow.errors import TaskError


@dataclass(frozen=True)
class Places:
    """``remote_url`` is None where there is no remote; ``options`` are the others of that remote, secrets included."""

    cache_dir: Path
    remote_url: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def places_of(project_dir: Path, remote: str | None) -> Places:
    """Read the checkout's configuration, with .dvc/config.local, and those of the user and of the machine.

    :param remote: the name of a remote; None: the default one.
    :raises TaskError: there is no remote of that name, or DVC cannot read the configuration.
    """
    try:
        config = Config(str(project_dir / ".dvc"))
    except ConfigError as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise TaskError(f"{project_dir}/.dvc/config: {error}{cause}") from None
    cache_dir = Path(config["cache"].get("dir") or project_dir / ".dvc" / "cache")
    name, remotes = remote or config["core"].get("remote"), config["remote"]
    if name is None:
        return Places(cache_dir)
    if name not in remotes:
        known = f"It has {', '.join(sorted(remotes))}." if remotes else "It has none."
        raise TaskError(f"{project_dir} has no DVC remote {name}. {known}")
    options = dict(remotes[name])
    return Places(cache_dir, str(options.pop("url")), options)
