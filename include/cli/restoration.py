"""``restore`` and ``verify``: bring back a past run, or check it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from include.checkout import behind
from include.cli.app import AsJson, Run, Session
from include.cli.output import print_json, print_table, progress
from include.errors import ConfigError, DataError
from include.lineage import restore as restoring
from include.lineage import verify as verifying
from include.lineage.code_pack import StoredCode, restore_code
from include.lineage.differences import flat
from include.lineage.manifest import Manifest
from include.settings import PROJECT_DIR
from include.store.stored_objects import Damage, StoredObjects


def restore(
    run: Run,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A DVC checkout or any folder; default: this checkout.")
    ] = None,
    code: Annotated[bool, typer.Option("--code", help="The code of the run, not its data. Needs --to.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files whose content differs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring back the files and the dvc.lock of a run, byte for byte, from the store alone; or its code."""
    session = Session()
    key, manifest = session.find(run)
    objects = session.objects(manifest)
    if code:
        _restore_code(key.run_id, manifest, objects, to, force=force, as_json=as_json)
        return
    with progress("Fetching", len(manifest.outputs)) as on_progress:
        done = restoring.restore(manifest, objects, to or PROJECT_DIR, force=force, on_progress=on_progress)
    if as_json:
        print_json({"run": key.run_id, "folder": done.folder, "files": done.files, "changed": done.changed})
        return
    print(f"Restored {len(done.files)} files of run {key.run_id} into {done.folder}:")
    print("\n".join(f"  {path}" for path in done.files))
    if done.changed:
        print(f"`dvc status` there shows changes in {', '.join(done.changed)}: {_why(session, manifest, done.changed)}")


def _restore_code(
    run_id: str, manifest: Manifest, objects: StoredObjects, to: Path | None, *, force: bool, as_json: bool
) -> None:
    if to is None:
        raise ConfigError("--code needs a folder for the code: --to DIR.")
    if manifest.code.pack is None:
        raise DataError(
            f"the code of run {run_id} was not kept: it is older than that. Its commit is {manifest.code}: check that "
            "out with git."
        )
    done = restore_code(StoredCode(objects, manifest.code.pack), to, force=force)
    if as_json:
        print_json({"run": run_id, "folder": to, "code": manifest.code.pack, **vars(done)})
        return
    print(f"Restored the code of run {run_id} ({manifest.code}) into {to}: {len(done.files)} files.")
    if done.left_out:
        print(f"Not kept with the code, and so not there: {', '.join(done.left_out)}.")


def _why(session: Session, manifest: Manifest, status: Mapping[str, Any]) -> str:
    here, there = flat(session.config.model_dump(mode="json")), flat(manifest.config)
    differing = behind(status, (name for name in there if there[name] != here.get(name)))
    changed = [f"{name} {there[name]} -> {here.get(name)}" for name in differing]
    return f"config/config.yaml or the code differs ({', '.join(changed) or 'see dvc status'})."


def verify(
    run: Run,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Execute all stages again, without any cache, and compare their outputs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that every object of a run is in the store, with the right content."""
    session = Session()
    key, manifest = session.find(run)
    with progress("Checking", len(manifest.outputs)) as on_progress:
        count, damages = verifying.verify(manifest, session.objects(manifest), on_progress)
    documents = session.lineage.changed_documents(key, manifest)
    outputs: list[verifying.RerunOutput] = []
    if rerun:
        with progress("Running again:", len(manifest.stages)) as on_progress:
            outputs = verifying.rerun(manifest, session.objects(manifest), PROJECT_DIR, session.runtime, on_progress)
    tracked = verifying.may_differ(manifest)
    packages = verifying.other_packages(manifest) if rerun else {}
    if as_json:
        print_json(
            {
                "run": key.run_id,
                "objects": count,
                "damaged": [vars(damage) for damage in damages],
                "changed_documents": documents,
                "rerun": [
                    {**vars(output), "ok": output.ok, "may_differ": output.path == tracked} for output in outputs
                ],
                "packages": packages,
            }
        )
    else:
        intact = count - len(damages)
        print(f"{intact} of {count} objects of run {key.run_id} are in the store, with the right content.")
        _print_rerun(outputs, tracked, packages)
    _refuse(damages, documents, [output for output in outputs if not output.ok and output.path != tracked])


def _print_rerun(
    outputs: list[verifying.RerunOutput], tracked: str, packages: Mapping[str, tuple[str, str | None]]
) -> None:
    def say(output: verifying.RerunOutput) -> str:
        if output.ok:
            return "the same"
        return "a new MLflow run, as expected" if output.path == tracked else "different"

    if outputs:
        print_table(["output of the rerun", "md5", ""], [[one.path, one.found, say(one)] for one in outputs])
    for name, (there, here) in packages.items():
        print(f"{name} is {here} here, was {there} in the run")


def _refuse(damages: list[Damage], documents: list[str], not_reproduced: list[verifying.RerunOutput]) -> None:
    problems = [str(damage) for damage in damages]
    problems += [f"{file} next to the manifest was changed; the manifest itself is intact" for file in documents]
    problems += [f"{one.path} was not reproduced: md5 {one.found}, expected {one.md5}" for one in not_reproduced]
    if problems:
        raise DataError("; ".join(problems))
