"""Which folder is the root of a DVC project, for messages about one that is not."""

from collections.abc import Iterable
from pathlib import Path

FOLDER = ".dvc"  # has DVC's configuration
SHOWN = 5


def no_folder(project_dir: Path) -> str | None:
    """Why this cannot be a project's folder; None if it is one."""
    if project_dir.is_dir():
        return None
    return f"{project_dir}: " + (
        "this is a file. Name the folder that it is in." if project_dir.exists() else "no such folder."
    )


def own_dvc_yamls(project_dir: Path, files: Iterable[str]) -> list[str]:
    """Those of these files that define stages of this project, not of one in a folder of it."""
    return [
        file
        for file in files
        if file.endswith("dvc.yaml") and not any(is_root(project_dir / above) for above in _folders(file))
    ]


def projects_near(project_dir: Path) -> str:
    """Which project may be meant, below or above a folder: with a blank before it; nothing if none is found."""
    project_dir = project_dir.resolve()
    if found := sorted(path.parent for depth in ("*", "*/*") for path in project_dir.glob(f"{depth}/{FOLDER}")):
        return f" There is one in {', '.join(map(str, found[:SHOWN]))}."
    above = next(filter(is_root, project_dir.parents), None)
    return f" The DVC project that it is in is {above}." if above else ""


def is_root(project_dir: Path) -> bool:
    """Whether DVC takes a folder for a project."""
    return (project_dir / FOLDER).is_dir()


def _folders(file: str) -> list[Path]:
    """The folders that a file is in, without the project's own."""
    return list(Path(file).parents)[:-1]
