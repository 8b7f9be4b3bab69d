"""Restore what a run made: its files and its dvc.lock, byte for byte, from the store alone."""

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any
from uuid import uuid4

from include import checkout
from include.errors import ConfigError, DataError
from include.lineage.manifest import Manifest
from include.settings import CONFIG_FILE
from include.settings.config_file import dump_yaml
from include.store.stored_objects import StoredFile, StoredObjects, md5_of_file, refuse


@dataclass(frozen=True)
class Restored:
    """What was written.

    :param files: the paths of all of it, below ``folder``.
    :param changed: what ``dvc status`` still reports as changed.
    """

    folder: Path
    files: list[str]
    changed: dict[str, Any]


def restore(
    manifest: Manifest,
    objects: StoredObjects,
    folder: Path,
    *,
    force: bool = False,
    on_progress: Callable[[str], None] = lambda path: None,
) -> Restored:
    """Restore a run into a DVC checkout (a folder with a dvc.yaml) or into a plain folder; all or nothing.

    A checkout keeps its config/config.yaml; a plain folder gets the run's.

    :param force: overwrite files whose content differs.
    :raises DataError: an object is gone or damaged, or files would be overwritten; nothing was changed.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder. Choose another with --to DIR")
    files, damages = objects.files(manifest.outputs)
    refuse(damages)
    texts = list(manifest.lock)
    with tempfile.TemporaryDirectory(prefix="restore-") as temporary:
        refuse(objects.fetch(files, Path(temporary), on_progress))
        if (folder / "dvc.yaml").is_file():
            lists = [record for record in manifest.outputs if record.md5 and record.md5.endswith(".dir")]
            for record in lists:
                (Path(temporary) / str(record.md5)).write_bytes(objects.read(record.path, str(record.md5)))
            changed = _into_checkout(manifest, Path(temporary), folder, force)
        else:
            changed = {}
            _into_folder(manifest, files, Path(temporary), folder, force)
            texts.append(str(CONFIG_FILE))
    return Restored(folder, [*(file.path for file in files), *texts], changed)


def _into_checkout(manifest: Manifest, fetched: Path, folder: Path, force: bool) -> dict[str, Any]:
    if foreign := {record.path for record in manifest.outputs} - checkout.outputs_of(folder):
        raise DataError(
            f"the dvc.yaml in {folder} does not produce {', '.join(sorted(foreign))}. Check out the commit of "
            f"that run ({manifest.code}) first, or restore into another folder with --to DIR."
        )
    cache = checkout.cache_folder(folder, dict(os.environ))
    for source in fetched.iterdir():
        checkout.put_into_cache(cache, source)
    return checkout.materialise(folder, manifest.lock, dict(os.environ), force=force)


def _into_folder(manifest: Manifest, files: list[StoredFile], fetched: Path, folder: Path, force: bool) -> None:
    texts = {
        **{path: dump_yaml(lock).encode() for path, lock in manifest.lock.items()},
        str(CONFIG_FILE): dump_yaml(manifest.config).encode(),
    }
    other = [file.path for file in files if md5_of_file(folder / file.path) not in (None, file.md5)]
    other += [path for path, text in texts.items() if (folder / path).exists() and (folder / path).read_bytes() != text]
    if other and not force:
        raise DataError(
            f"{', '.join(sorted(other))} in {folder} would be overwritten. Choose an empty folder with --to DIR, or "
            "overwrite them with --force."
        )
    with tempfile.TemporaryDirectory(prefix="texts-") as temporary:
        sources = [(fetched / file.md5, folder / file.path) for file in files]
        for number, (path, text) in enumerate(reversed(texts.items())):  # dvc.lock last: it makes the folder that run's
            source = Path(temporary) / str(number)
            source.write_bytes(text)
            sources.append((source, folder / path))
        _require_inside(folder, [target for _, target in sources])
        place(sources)


def place(files: Iterable[tuple[Path, Path]]) -> None:
    """Copy files to their places: all of them, or, where a disk is full or a folder not to be written to, none."""
    mark = f"{os.getpid()}.{uuid4().hex[:8]}"
    parts = {target: target.with_name(f".{target.name}.{mark}.part") for _, target in files}
    olds = {target: target.with_name(f".{target.name}.{mark}.old") for target in parts}
    done: list[Path] = []
    try:
        for source, target in files:
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(source, parts[target])
        for target, part in parts.items():
            if target.exists():
                os.replace(target, olds[target])
            done.append(target)
            os.replace(part, target)
    except BaseException:
        for target in done:
            target.unlink(missing_ok=True)
            if olds[target].exists():
                os.replace(olds[target], target)
        raise
    finally:
        for left in (*parts.values(), *olds.values()):
            left.unlink(missing_ok=True)


def _require_inside(folder: Path, targets: Iterable[Path]) -> None:
    """Refuse links that lead out of the folder."""
    for target in targets:
        if not target.parent.resolve().is_relative_to(folder):
            raise DataError(
                f"{target.parent} is a link out of {folder}. Remove the link, or restore into another folder."
            )
