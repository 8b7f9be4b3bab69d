"""Plans of all kinds of stages, and of whatever may happen to results: each run does what was planned."""

import hashlib
import shutil

import pytest

from dvc_airflow.lockfile import lock_text
from tests.support.planned_project import CHAIN, Place

RAW = "a\nb\n"
RAW_MD5 = hashlib.md5(RAW.encode()).hexdigest()
# All kinds of stages that DVC has.
ZOO = {
    "dvc.yaml": """
stages:
  load:
    foreach: [a, b]
    do:
      cmd: mkdir -p loaded && cp seeds/${item}.txt loaded/${item}.txt
      deps: ["seeds/${item}.txt"]
      outs: ["loaded/${item}.txt"]
  join: {cmd: cat loaded/*.txt > joined.txt, deps: [loaded], outs: [joined.txt]}
  fit:
    matrix: {depth: [1, 2]}
    cmd: mkdir -p fits/${item.depth} && cat joined.txt params.yaml > fits/${item.depth}/model
    deps: [joined.txt]
    params: [rate]
    outs: ["fits/${item.depth}"]
  pick: {cmd: cp fits/1/model picked.txt, deps: [fits/1/model], outs: [picked.txt]}
  elsewhere: {wdir: work, cmd: cp ../joined.txt out.txt, deps: [../joined.txt], outs: [out.txt]}
  download: {cmd: date +%N > page.html, outs: [page.html]}
  upload: {cmd: cat page.html, deps: [page.html]}
  remind: {cmd: echo remind}
  collect: {cmd: cat seeds/a.txt >> all.txt, deps: [seeds/a.txt], outs: [all.txt: {persist: true}]}
  tick: {cmd: date +%N > tick.txt, deps: [joined.txt], outs: [tick.txt], always_changed: true}
  after: {cmd: cp tick.txt after.txt, deps: [tick.txt], outs: [after.txt]}
  raw: {cmd: wc -l < raw.csv > raw.txt, deps: [raw.csv], outs: [raw.txt]}
""",
    "sub/dvc.yaml": """
stages:
  part: {cmd: bash part.sh > part.json, deps: [../joined.txt, part.sh], metrics: [part.json: {cache: false}]}
""",
    "sub/part.sh": "echo 1\n",
    "seeds/a.txt": "a\n",
    "seeds/b.txt": "b\n",
    "work/README": "here\n",
    "params.yaml": "rate: 1\n",
    "raw.csv.dvc": f"outs:\n- md5: {RAW_MD5}\n  size: {len(RAW)}\n  hash: md5\n  path: raw.csv\n",
}


def stages_with(outcome: str, planned: dict[str, str]) -> set[str]:
    return {stage for stage, found in planned.items() if found == outcome}


def test_all_kinds_of_stages_do_what_is_planned(tmp_path):
    place = Place(tmp_path, ZOO)
    stranger = place.stranger
    kept = stranger.cache / "files" / "md5" / RAW_MD5[:2] / RAW_MD5[2:]
    kept.parent.mkdir(parents=True)
    kept.write_text(RAW)

    first = place.run()
    assert stages_with("depends", first) == {
        "join", "fit@1", "fit@2", "pick", "elsewhere", "upload", "after", "sub/dvc.yaml:part"
    }  # fmt: skip
    assert stages_with("executed", first) == first.keys() - stages_with("depends", first)

    again = place.run()
    assert stages_with("executed", again) == {"tick", "remind"}
    assert stages_with("depends", again) == {"after"}

    stranger.write({"params.yaml": "rate: 2\n", "sub/part.sh": "echo 2\n"})
    changed = place.run()
    assert stages_with("executed", changed) == {"fit@1", "fit@2", "sub/dvc.yaml:part", "tick", "remind"}
    assert stages_with("depends", changed) == {"pick", "after"}

    stranger.write({"params.yaml": "rate: 1\n", "sub/part.sh": "echo 1\n", "seeds/a.txt": "other\n"})
    back = place.run()
    assert stages_with("executed", back) == {"load@a", "collect", "tick", "remind"}
    assert stages_with("depends", back) >= {"join", "fit@1", "pick"}

    # frozen: whatever comes before it, and what comes after it is certain
    entry = place.results["join"].entry
    stranger.write({
        "dvc.lock": lock_text({"join": entry}),
        "dvc.yaml": ZOO["dvc.yaml"].replace("outs: [joined.txt]}", "outs: [joined.txt], frozen: true}"),
        "seeds/a.txt": "third\n",
    })  # fmt: skip
    frozen = place.run()
    assert stages_with("depends", frozen) == {"after"}
    assert frozen["join"] == "unchanged"

    # without the cache: all from the remote, but for what is in no history
    shutil.rmtree(stranger.cache)
    elsewhere = place.run()
    assert elsewhere["fit@1"] == "restored"
    assert elsewhere["collect"] == elsewhere["download"] == "executed"


@pytest.mark.parametrize("cache", [True, False], ids=["shared cache", "no shared cache"])
def test_a_chain_does_what_is_planned_whatever_happened_to_its_results(tmp_path, cache):
    place = Place(tmp_path, CHAIN, cache=cache)
    stranger = place.stranger
    both = (stranger.cache, stranger.remote)
    certain = lambda *outcomes: dict(zip(("load", "train", "report"), outcomes, strict=True))  # noqa: E731

    assert place.run() == certain("executed", "depends", "depends")
    assert place.run() == certain("unchanged", "unchanged", "unchanged")
    stranger.write({"params.yaml": "rate: 2.5\ndepth: 3\n", "train.sh": "cat out/*; grep rate params.yaml; #\n"})
    assert place.run() == certain("unchanged", "executed", "depends")
    stranger.write({name: CHAIN[name] for name in ("params.yaml", "train.sh")})
    assert place.run() == certain("unchanged", "restored", "restored")
    assert place.run("another") == certain("restored", "restored", "restored")
    assert place.run(force=True) == certain("executed", "executed", "executed")

    place.remove("train", where=both)
    assert place.run() == certain("unchanged", "executed", "depends")
    place.remove("load", where=both)  # the list of a folder
    assert place.run() == certain("executed", "depends", "depends")
    for damaged in place.objects("train", both):
        damaged.chmod(0o644)
        damaged.write_text("damaged, and longer than it was")
    assert place.run() == certain("unchanged", "executed", "depends")
    for folder in both:
        shutil.rmtree(folder / "runs", ignore_errors=True)
    shutil.rmtree(stranger.cache / "airflow" / "results", ignore_errors=True)
    assert place.run() == certain("executed", "depends", "depends")

    stranger.write({"dvc.yaml": CHAIN["dvc.yaml"].replace("  report:", "  summary:")})
    assert place.run() == {"load": "unchanged", "train": "unchanged", "summary": "restored"}  # by another name
