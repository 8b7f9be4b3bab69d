"""``restore`` and ``verify``: a past run brought back, or checked."""

from pathlib import Path
from typing import Annotated

import typer

from include.cli.app import AsJson, Run, Session
from include.cli.output import print_json, print_table, progress
from include.errors import DataError
from include.lineage import restore as restoring
from include.lineage import verify as verifying
from include.lineage.differences import flat
from include.lineage.manifest import Manifest
from include.settings import PROJECT_DIR


def restore(
    run: Run,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A DVC checkout or any folder; default: this checkout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that hold something else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring back the files and the dvc.lock of a run, byte for byte, from the store alone."""
    session = Session()
    key, manifest = session.find(run)
    objects = session.objects(manifest)
    with progress("Fetching", len(manifest.outputs)) as on_progress:
        done = restoring.restore(manifest, objects, to or PROJECT_DIR, force=force, on_progress=on_progress)
    if as_json:
        print_json({"run": key.run_id, "folder": done.folder, "files": done.files, "changed": done.changed})
        return
    print(f"Restored {len(done.files)} files of run {key.run_id} into {done.folder}:")
    print("\n".join(f"  {path}" for path in done.files))
    if done.changed:
        print(f"`dvc status` there differs in {', '.join(done.changed)}: {_why(session, manifest)}")


def _why(session: Session, manifest: Manifest) -> str:
    here, there = flat(session.config.model_dump(mode="json")), flat(manifest.config)
    changed = [f"{name} {there[name]} -> {here.get(name)}" for name in there if there[name] != here.get(name)]
    return f"config/config.yaml or the code is another ({', '.join(changed) or 'see dvc status'})."


def verify(
    run: Run,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Execute all stages again, without cache, and compare what they make.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """RerunOutput that every object of a run is in the store, with the right content."""
    session = Session()
    key, manifest = session.find(run)
    with progress("Checking", len(manifest.outputs)) as on_progress:
        count, damages = verifying.verify(manifest, session.objects(manifest), on_progress)
    documents = session.archive.changed_documents(key, manifest)
    checks: list[verifying.RerunOutput] = []
    if rerun:
        with progress("Running again:", len(manifest.stages)) as on_progress:
            checks = verifying.rerun(manifest, PROJECT_DIR, session.runtime, on_progress)
    tracked = verifying.may_differ(manifest)
    other = [check for check in checks if not check.ok and check.path != tracked]
    packages = verifying.other_packages(manifest) if rerun else {}
    if as_json:
        print_json(
            {
                "run": key.run_id,
                "objects": count,
                "damaged": [vars(damage) for damage in damages],
                "changed_documents": documents,
                "rerun": [{**vars(check), "ok": check.ok, "may_differ": check.path == tracked} for check in checks],
                "packages": packages,
            }
        )
    else:
        print(
            f"{count - len(damages)} of {count} objects of run {key.run_id} are in the store, with the right content."
        )
        if checks:
            _print_checks(checks, tracked)
        for name, (there, here) in packages.items():
            print(f"{name} is {here} here, was {there} in the run")
    problems = [str(damage) for damage in damages]
    problems += [f"{file} beside the manifest was changed; the manifest has it right" for file in documents]
    problems += [f"{check.path} came out different: md5 {check.found}, was {check.md5}" for check in other]
    if problems:
        raise DataError("; ".join(problems))


def _print_checks(checks: list[verifying.RerunOutput], tracked: str) -> None:
    def say(check: verifying.RerunOutput) -> str:
        if check.ok:
            return "the same"
        return "another MLflow run, as it must be" if check.path == tracked else "different"

    print_table(["made again", "md5", ""], [[check.path, check.found, say(check)] for check in checks])
