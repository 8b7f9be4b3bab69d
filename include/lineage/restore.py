"""Bring back what a run made: its files and its dvc.lock, byte for byte, from the store alone."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shutil import copyfile
from typing import Any

from include import checkout
from include.config_file import dump_yaml
from include.errors import ConfigError, DataError
from include.lineage.manifest import Manifest
from include.lineage.objects import StoredFile, StoredObjects, md5_of_file, refuse
from include.settings import CONFIG_FILE
from include.stages.files import write_bytes


@dataclass(frozen=True)
class Restored:
    """``files`` are paths below ``folder``; ``changed`` is what ``dvc status`` finds different there all the same."""

    folder: Path
    files: list[str]
    changed: dict[str, Any]


def restore(
    manifest: Manifest,
    objects: StoredObjects,
    folder: Path,
    *,
    force: bool = False,
    tell: Callable[[str], None] = lambda path: None,
) -> Restored:
    """Restore a run into a DVC checkout (a folder with a dvc.yaml) or into a plain folder; all or nothing.

    A checkout keeps its config/config.yaml; a plain folder gets the run's.

    :param force: replace files that hold something else.
    :raises DataError: an object is gone or damaged, or something else would be lost; nothing was changed.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder. Name another: --to DIR")
    files, damages = objects.files(manifest.outputs)
    for file in files:
        _require_inside(file.path)
    refuse(damages)
    with tempfile.TemporaryDirectory(prefix="restore-") as temporary:
        refuse(objects.fetch(files, Path(temporary), tell))
        if (folder / "dvc.yaml").is_file():
            lists = [record for record in manifest.outputs if record.md5 and record.md5.endswith(".dir")]
            for record in lists:
                (Path(temporary) / str(record.md5)).write_bytes(objects.read(record.path, str(record.md5)))
            changed = _into_checkout(manifest, files, Path(temporary), folder, force)
        else:
            changed = {}
            _into_folder(manifest, files, Path(temporary), folder, force)
    return Restored(folder, [*(file.path for file in files), *manifest.lock], changed)


def _into_checkout(
    manifest: Manifest, files: list[StoredFile], fetched: Path, folder: Path, force: bool
) -> dict[str, Any]:
    cache = checkout.cache_folder(folder, dict(os.environ))
    for source in fetched.iterdir():
        checkout.put_into_cache(cache, source)
    changed = checkout.materialise(folder, manifest.lock, dict(os.environ), force=force)
    absent = [file.path for file in files if md5_of_file(folder / file.path) != file.md5]
    if absent:
        raise DataError(
            f"the dvc.yaml in {folder} does not make {', '.join(absent)} (any more). Check out the commit of that run "
            f"({manifest.code}) first, or restore into another folder with --to DIR."
        )
    return changed


def _into_folder(manifest: Manifest, files: list[StoredFile], fetched: Path, folder: Path, force: bool) -> None:
    texts = {
        **{path: dump_yaml(lock).encode() for path, lock in manifest.lock.items()},
        str(CONFIG_FILE): dump_yaml(manifest.config).encode(),
    }
    other = [file.path for file in files if md5_of_file(folder / file.path) not in (None, file.md5)]
    other += [path for path, text in texts.items() if (folder / path).exists() and (folder / path).read_bytes() != text]
    if other and not force:
        raise DataError(
            f"{folder} has other content in {', '.join(sorted(other))}. Name an empty folder with --to, or "
            "replace it with --force."
        )
    for file in files:
        place(fetched / file.md5, folder / file.path)
    for path, text in reversed(texts.items()):  # dvc.lock last: with it the folder is that run's
        write_bytes(folder / path, text)


def place(source: Path, target: Path) -> None:
    """Copy a file to its place, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        copyfile(source, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _require_inside(path: str) -> None:
    """A manifest is data: no path in it may lead out of the folder."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise DataError(f"the manifest names {path}, which is outside the project. Nothing was restored.")
