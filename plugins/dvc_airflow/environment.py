"""The environment of a stage's process: an explicit list, so that no Airflow setting and no secret slips in."""

import os
import sys
from pathlib import Path

# Where programs are, who runs them, how they print, and which certificates they trust.
PASSED_ON = (
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "TZ",
    "USER",
    "AWS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)


def base_environment() -> dict[str, str]:
    """PATH (this Python's folder first, so that ``python`` and ``dvc`` are ours) and the variables of `PASSED_ON`."""
    programs = str(Path(sys.executable).parent)
    return {
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "DVC_NO_ANALYTICS": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # __pycache__ in a folder that is a dependency would count as its content
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
    }
