"""The DVC configuration of a workspace: the project's own, but for what belongs to one place."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dvc_airflow.errors import WorkspaceError

REMOTE = "airflow"  # the name of `remote_url` in a workspace's DVC configuration
# Seconds, where the project says nothing. DVC's defaults wait for minutes; a remote that is down or silent must be
# noticed within one.
S3_TIMEOUTS = {"connect_timeout": "5", "read_timeout": "8"}


class DvcConfig:
    """The configuration for one workspace, from the project's .dvc/config; config.local, with its secrets, is left.

    :param remote_url: where DVC pushes to and pulls from; None: the project's default remote.
    :param remote_options: options of that remote, without secrets; they win over the project's.
    :raises WorkspaceError: the project's .dvc/config cannot be read.
    """

    def __init__(self, project_dir: Path, remote_url: str | None, remote_options: Mapping[str, Any]) -> None:
        self._sections = _read(project_dir / ".dvc" / "config")
        core = self._sections.setdefault("core", {})
        #: the name of the default remote, if there is one
        self.remote: str | None = None
        if remote_url:
            self.remote = REMOTE
            self._sections[_section(REMOTE)] = {"url": _one_line("url", remote_url)}
        elif _section(core.get("remote", "")) in self._sections:
            self.remote = core["remote"]
        core.pop("remote", None)
        if self.remote:
            core["remote"] = self.remote
            options = {name: _one_line(name, value) for name, value in remote_options.items()}
            self._sections[_section(self.remote)] |= options

    def of_remote(self) -> dict[str, str]:
        """The options of the default remote, time-outs included; none if there is none here."""
        section = _section(self.remote or "")
        return _whole(section, self._sections[section]) if section in self._sections else {}

    def text(self, workspace: Path, cache_dir: Path | None) -> str:
        """What the workspace's .dvc/config says.

        :param cache_dir: the cache that tasks share; None: the workspace has one of its own.
        """
        sections = {name: _whole(name, options) for name, options in self._sections.items()}
        sections["core"] |= {"no_scm": "true", "analytics": "false", "check_update": "false"}
        sections["core"]["site_cache_dir"] = str(workspace / ".dvc" / "tmp" / "site")
        sections["cache"] = {name: value for name, value in sections.get("cache", {}).items() if name != "dir"}
        if cache_dir:
            sections["cache"]["dir"] = str(cache_dir)
        return "".join(
            f"[{name}]\n" + "".join(f"    {option} = {value}\n" for option, value in options.items())
            for name, options in sections.items()
        )


def has_default_remote(project_dir: Path) -> bool:
    """Whether tasks find a default remote: in the project's .dvc/config, or in DVC's own for this user or machine."""
    from platformdirs import site_config_dir, user_config_dir

    folders = (  # as `dvc.dirs` has them
        project_dir / ".dvc",
        Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR") or user_config_dir("dvc", "iterative")),
        Path(os.environ.get("DVC_SYSTEM_CONFIG_DIR") or site_config_dir("dvc", "iterative")),
    )
    return any(_read(folder / "config").get("core", {}).get("remote") for folder in folders)


def remote_address(project_dir: Path, remote_url: str | None, remote_options: Mapping[str, Any]) -> str | None:
    """The address of the default remote, without user, password and query; None if only DVC's settings know it.

    :raises WorkspaceError: the project's .dvc/config cannot be read.
    """
    url = DvcConfig(project_dir, remote_url, remote_options).of_remote().get("url")
    if not url or "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def no_remote(project_dir: Path) -> str:
    """What to do about a project without a default remote."""
    return (
        f"{project_dir} has no default DVC remote. Run `dvc remote add --default NAME URL` there and keep .dvc/config "
        "with the project (tasks do not read .dvc/config.local), or give the operators remote_url=."
    )


def _read(file: Path) -> dict[str, dict[str, str]]:
    from configobj import ConfigObj, ConfigObjError

    try:
        # A copy without ConfigObj's own types; interpolation is not DVC's way.
        config = {
            _section_name(name): dict(options)
            for name, options in ConfigObj(str(file), interpolation=False, list_values=False, encoding="utf-8").items()
        }
    except (ConfigObjError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"{file}: {error}") from None
    except ValueError:
        raise WorkspaceError(f"{file}: every option must be in a section such as [core].") from None
    for name, options in config.items():
        url = options.get("url", "")
        if name.startswith("'remote") and url and "://" not in url and not Path(url).is_absolute():
            options["url"] = str((file.parent / url).resolve())  # DVC counts it from the folder of the file
    return config


def _whole(section: str, options: Mapping[str, str]) -> dict[str, str]:
    """The options of a section, with what tasks need of a remote."""
    if not section.startswith("'remote"):
        return dict(options)
    whole = {**options, "verify": "true"}  # else DVC takes a corrupted object for good
    return {**whole, **S3_TIMEOUTS, **whole} if whole.get("url", "").startswith("s3://") else whole


def _section(remote: str) -> str:
    return f"'remote \"{remote}\"'"


def _section_name(name: str) -> str:
    return f"'{name}'" if " " in name else name


def _one_line(option: str, value: Any) -> str:
    if not str(value).isprintable():
        raise WorkspaceError(f"{value!r} cannot be the {option} of a DVC remote: it must be one line of text.")
    return str(value)
