"""What a collection leaves of a run that it removed: a note of a few bytes, by run and by model version.

By it a command can say what became of a run, and a run that is cleared later is not recorded with objects that are
gone.
"""

import json
from datetime import datetime
from urllib.parse import quote

FOLDER = "lineage/collected"
MARK = "airflow/gc"  # in each remote while a collection deletes; see `dvc_airflow.collecting`
REMOTES = f"{FOLDER}/remotes/"  # the prefixes of DVC remotes other than that of the configuration, quoted


def collected_run(path: str) -> str:
    """Where the note of a run is.

    :param path: of its `include.lineage.run_keys.RunKey`.
    """
    return f"{FOLDER}/runs/{path}"


def collected_version(name: str, version: str) -> str:
    """Where the note of the run is that registered a model version."""
    return f"{FOLDER}/by-version/{quote(name, safe='')}/{quote(version, safe='')}"


def note(run_id: str, at: datetime) -> bytes:
    """What a note says."""
    return json.dumps({"run": run_id, "at": at.isoformat(timespec="seconds")}).encode()


def collected_at(text: bytes | None) -> str | None:
    """When that was, by a note; None: there is none."""
    if text is None:
        return None
    try:
        return str(json.loads(text)["at"])
    except (ValueError, KeyError, TypeError):
        return "an unknown day"
