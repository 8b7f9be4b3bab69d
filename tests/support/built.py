"""The wheel of dvc_airflow, built from the checkout."""

import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from zipfile import Path as ZipPath

from tests.support.copies import ROOT

PLUGINS = ROOT / "plugins"
UV = Path(sys.executable).with_name("uv")


def build(folder: Path) -> tuple[Path, Path]:
    """Build as `make wheel` does.

    :return: the wheel and the source distribution.
    """
    command = [UV, "build", "--quiet", "--offline", "--python", sys.executable, "--out-dir", folder, PLUGINS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def distribution_in(wheel: Path) -> Distribution:
    """What Python would know of the wheel if it were installed."""
    (info,) = [path for path in ZipPath(wheel).iterdir() if path.name.endswith(".dist-info")]
    return PathDistribution(info)
