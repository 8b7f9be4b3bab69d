"""``doctor``: check the surroundings of the pipeline, and say what to do."""

import sys
from dataclasses import asdict

import typer

from include.cli.app import AsJson
from include.cli.output import print_json
from include.doctor import examine


def doctor(as_json: AsJson = False) -> None:
    """Check configuration, versions, store, permissions and tracking: each line ok, or what to do."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.detail}", flush=True)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    failed = [finding.what for finding in findings if not finding.ok]
    if failed:
        print(f"error: {len(failed)} of {len(findings)} checks failed: {', '.join(failed)}", file=sys.stderr)
        raise typer.Exit(1)
