"""The package that DVC needs for a kind of address (``s3://``, ``gs://``, ...) and that is not installed here."""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata

from dvc_airflow.errors import MissingPackageError

OWN = "airflow-provider-dvc"
NEEDS = re.compile(r"^(\w+) is supported, but requires 'dvc-([\w-]+)' to be installed")  # what dvc_objects says


def missing_package(error: BaseException, where: str = "") -> MissingPackageError | None:
    """What to install, if an error of DVC says that its client for a kind of address is not there.

    :param where: the address, if it is known; for people.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImportError) and (said := NEEDS.match(str(cause))):
            return _error(where or f"{said[1]}://", f"dvc-{said[2]}", said[2])
        if type(cause).__name__ == "RemoteMissingDepsError":  # the client is there, but not what it is made of
            protocol, packages = getattr(cause, "protocol", ""), getattr(cause, "missing_deps", ())
            return _error(where or f"{protocol}://", ", ".join(packages), str(protocol))
        cause = cause.__cause__ or cause.__context__
    return None


def _error(where: str, packages: str, kind: str) -> MissingPackageError:
    try:
        extras = metadata(OWN).get_all("Provides-Extra") or ()
    except PackageNotFoundError:  # this code is not installed, but found by PYTHONPATH or as a folder of plugins
        extras = ()
    what = f"{OWN if kind in extras else 'dvc'}[{kind}]"
    return MissingPackageError(
        f"{where} needs {packages}, which is not installed where this runs ({sys.executable}). Run `pip install "
        f'"{what}"` there; on workers too, if tasks run on others.'
    )
