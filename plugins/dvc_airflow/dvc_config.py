"""The DVC configuration of a workspace: the project's own, but for what belongs to one place."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dvc_airflow.errors import WorkspaceError

REMOTE = "airflow"  # the name of `remote_url` in a workspace's DVC configuration
# Seconds, where the project says nothing. DVC's defaults wait for minutes; a remote that is down or silent must be
# noticed within one.
S3_TIMEOUTS = {"connect_timeout": "5", "read_timeout": "8"}
# Options of DVC that hold a secret, see https://dvc.org/doc/command-reference/remote/modify; and those like them.
SECRET = re.compile(
    r"secret|passw|passphrase|token|access_key|account_key|customer_key|key_id|connection_string|auth_header|private",
    re.IGNORECASE,
)
# A password in an address; a token, alone or in a query, in one of the web. A user's name alone is none.
WITH_PASSWORD = re.compile(r"\w+://[^/@]*:[^/@]+@|https?://[^/@]+@|https?://.*\?")
WHY_IT_LACKS = "as before the first push, or if its disk is not mounted"  # of `folder_lacks`


class DvcConfig:
    """The configuration for one workspace, from the project's .dvc/config; config.local, with its secrets, is left.

    :param remote_url: where DVC pushes to and pulls from; None: the project's default remote.
    :param remote_options: options of that remote, without secrets; they win over the project's, which None drops.
    :param packed: the text of the file as the code of a run has it, see `without_secrets`; the secrets are those that
        the file has now. None: the file as it is now.
    :raises WorkspaceError: the project's .dvc/config cannot be read.
    """

    def __init__(
        self, project_dir: Path, remote_url: str | None, remote_options: Mapping[str, Any], packed: str | None = None
    ) -> None:
        file = project_dir / ".dvc" / "config"
        self._sections = _sections(file)
        if packed is not None:
            secrets, self._sections = self._sections, _sections(packed.splitlines(), str(file))
            for name in self._sections.keys() & secrets.keys():
                self._sections[name] |= {key: value for key, value in secrets[name].items() if _is_secret(key, value)}
        self._written = {name: dict(options) for name, options in self._sections.items()}
        _count_from(file.parent, self._sections)
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
            options = {name: _one_line(name, value) for name, value in remote_options.items() if value is not None}
            own = self._sections[_section(self.remote)]
            kept = {name: value for name, value in own.items() if remote_options.get(name, value) is not None}
            self._sections[_section(self.remote)] = {**kept, **options}

    def without_secrets(self) -> str:
        """The project's own .dvc/config, as all tasks of a run are to have it."""
        return _text(
            {
                name: {option: value for option, value in options.items() if not _is_secret(option, value)}
                for name, options in self._written.items()
            }
        )

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
        return _text(sections)


def lacks_remote(project_dir: Path) -> str | None:
    """What to do where tasks find no default remote: in the project's .dvc/config, or in DVC's own for this user or
    machine. None: they find one.
    """
    from platformdirs import site_config_dir, user_config_dir

    folders = (  # as `dvc.dirs` has them
        project_dir / ".dvc",
        Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR") or user_config_dir("dvc", "iterative")),
        Path(os.environ.get("DVC_SYSTEM_CONFIG_DIR") or site_config_dir("dvc", "iterative")),
    )
    has_one = any(_sections(folder / "config").get("core", {}).get("remote") for folder in folders)
    return None if has_one else no_remote(project_dir)


def folder_lacks(remote: str) -> str | None:
    """What a remote that is a folder is without anything in it: "is empty", "does not exist"; None if it has something.

    :param remote: its address, for people.
    """
    try:
        return None if "://" in remote or any(Path(remote).iterdir()) else "is empty"
    except FileNotFoundError:
        return "does not exist"
    except OSError:  # asked for a result, it says more
        return None


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


def _sections(config: Path | list[str], where: str = "") -> dict[str, dict[str, str]]:
    """:param config: the file, or its lines.

    :param where: the file, for people.
    """
    from configobj import ConfigObj, ConfigObjError

    where = where or str(config)
    source = str(config) if isinstance(config, Path) else config
    try:
        # A copy without ConfigObj's own types; interpolation is not DVC's way.
        return {
            _section_name(name): dict(options)
            for name, options in ConfigObj(source, interpolation=False, list_values=False, encoding="utf-8").items()
        }
    except (ConfigObjError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"{where}: {error}") from None
    except ValueError:
        raise WorkspaceError(f"{where}: every option must be in a section such as [core].") from None


def _count_from(folder: Path, sections: dict[str, dict[str, str]]) -> None:
    """Make the paths of remotes absolute: DVC counts them from the folder of the file."""
    for name, options in sections.items():
        url = options.get("url", "")
        if name.startswith("'remote") and url and "://" not in url and not Path(url).is_absolute():
            options["url"] = str((folder / url).resolve())


def _text(sections: Mapping[str, Mapping[str, str]]) -> str:
    return "".join(
        f"[{name}]\n" + "".join(f"    {option} = {value}\n" for option, value in options.items())
        for name, options in sections.items()
    )


def _is_secret(option: str, value: str) -> bool:
    return bool(SECRET.search(option) or (option == "url" and WITH_PASSWORD.match(value)))


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
