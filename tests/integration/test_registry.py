"""The registry under retries and parallel runs, with a real MLflow and a real store."""

import hashlib
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from sklearn.linear_model import LogisticRegression

from include.errors import DataError, ServiceError
from include.mlflow_client import champion_version, translated_errors
from include.registry.comparison import Comparison
from include.registry.history import promotion_chain
from include.registry.registry import CHALLENGER, CHAMPION, Actor, Registry
from include.settings import RuntimeSettings
from include.settings.config_file import load_config
from include.stages.get_data import load_builtin
from include.store.client import client
from include.store.lock import LEASE, leased
from tests.support.proxy import proxy_to

TRAINED = 12


class Lab:
    """A model of its own per test, and MLflow runs that trained it."""

    def __init__(self, site) -> None:
        self.site = site
        self.runtime = RuntimeSettings.model_validate({name.lower(): value for name, value in site.env.items()})
        self.mlflow = mlflow.MlflowClient()
        self.base = load_config(site.project)
        iris = load_builtin("iris", "target").sample(frac=1, random_state=0)
        features, target = iris.drop(columns="target"), iris["target"]
        signature = mlflow.models.infer_signature(features, target)
        mlflow.set_experiment("registry")
        self.trained = []
        for number in range(TRAINED):
            # Ever more rows: models of different quality
            model = LogisticRegression(max_iter=300).fit(features[: 8 + 10 * number], target[: 8 + 10 * number])
            with mlflow.start_run() as run:
                logged = mlflow.sklearn.log_model(model, name="model", signature=signature, pip_requirements=["pandas"])
            self.trained.append({"run_id": run.info.run_id, "model_uri": logged.model_uri})

    def registry(self, name: str) -> Registry:
        config = self.base.model_copy(update={"registry": self.base.registry.model_copy(update={"model_name": name})})
        return Registry(config, self.runtime, self.mlflow)

    def versions(self, name: str) -> dict[str, str]:
        return {one.version: one.run_id for one in self.mlflow.search_model_versions(f"name = '{name}'")}

    def promote(self, registry: Registry, version: str, accuracy: dict[str, float], task: str | None = None):
        rule = self.base.registry.model_copy(update={"minimum": 0.5, "tolerances": {}})
        scores = {one: {"test_accuracy": value} for one, value in accuracy.items()}
        return registry.promote(
            version,
            scores[version],
            rule,
            lambda champion: (scores[champion.version], "scored on the same test rows"),
            Actor("a test", task or f"task-{version}"),
        )


@pytest.fixture(scope="module")
def lab(make_site):
    site = make_site("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", site.env["MLFLOW_TRACKING_URI"])
        mlflow.set_tracking_uri(site.env["MLFLOW_TRACKING_URI"])
        yield Lab(site)


def at_once(do, arguments):
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(do, arguments))


def test_twenty_tries_at_once_make_one_version(lab):
    found = at_once(lambda _: lab.registry("tries").register(lab.trained[0], {"git_sha": "x"}, "*text*"), range(20))

    assert {version for version, _ in found} == {"1"}
    assert sorted(new for _, new in found) == [False] * 19 + [True]
    assert lab.versions("tries") == {"1": lab.trained[0]["run_id"]}
    registered = lab.mlflow.get_model_version("tries", "1")
    assert (registered.tags["git_sha"], registered.description) == ("x", "*text*")


def test_runs_that_promote_at_once_leave_one_champion_the_best(lab):
    accuracy = {str(number + 1): 0.6 + 0.03 * ((number * 7) % 10) for number in range(10)}

    def run(number: int):
        registry = lab.registry("promotions")
        version, _ = registry.register(lab.trained[number], {}, "")
        mine = {version: accuracy[str(number + 1)]}
        return number, version, mine

    registered = at_once(run, range(10))
    scores = {version: mine[version] for _, version, mine in registered}
    best = max(scores, key=lambda version: (scores[version], int(version)))

    verdicts = at_once(lambda version: lab.promote(lab.registry("promotions"), version, scores), sorted(scores))

    assert set(lab.versions("promotions").values()) == {run["run_id"] for run in lab.trained[:10]}
    assert len(lab.versions("promotions")) == 10
    registry = lab.registry("promotions")
    assert registry.version_of(CHAMPION) == best
    assert registry.version_of(CHALLENGER) != best
    promoted = [verdict.version for verdict in verdicts if verdict.passed]
    assert sorted(change.version for change in registry.history()) == sorted(promoted)
    assert registry.history()[-1].version == best


def test_a_task_that_is_tried_again_says_the_same_and_changes_nothing(lab):
    registry = lab.registry("retried")
    for number in range(2):
        registry.register(lab.trained[number], {}, "")
    scores = {"1": 0.8, "2": 0.9}
    lab.promote(registry, "1", scores)
    first = lab.promote(registry, "2", scores)
    history = registry.history()

    again = lab.promote(registry, "2", scores)

    assert again == first
    assert (first.passed, first.compared_with, first.champion) == (True, "1", "2")
    assert registry.history() == history


def test_one_that_does_not_pass_is_challenger_and_the_champion_stays(lab):
    registry = lab.registry("worse")
    for number in range(2):
        registry.register(lab.trained[number], {}, "")
    scores = {"1": 0.9, "2": 0.8}
    lab.promote(registry, "1", scores)

    verdict = lab.promote(registry, "2", scores)

    assert (verdict.passed, verdict.alias, verdict.champion) == (False, "challenger", "1")
    assert lab.mlflow.get_registered_model("worse").aliases == {"champion": "1", "challenger": "2"}


@pytest.fixture
def three(lab, request):
    """Three versions that became champion one after the other."""
    name = f"three-{hashlib.md5(request.node.name.encode()).hexdigest()}"
    registry = lab.registry(name)
    for number in range(3):
        registry.register(lab.trained[number], {}, "")
    for version in ("1", "2", "3"):
        lab.promote(registry, version, {"1": 0.7, "2": 0.8, "3": 0.9})
    return registry


def test_a_roll_back_goes_to_the_champion_before_and_then_to_the_one_before_that(lab, three):
    first = three.roll_back("previous", "bad predictions", Actor("a person", "one"))
    assert (first.before, first.version, three.version_of(CHAMPION)) == ("3", "2", "2")
    second = three.roll_back("previous", "still bad", Actor("a person", "two"))
    assert (second.before, second.version, three.version_of(CHAMPION)) == ("2", "1", "1")

    assert [(change.kind, change.version, change.reason) for change in three.history()][-2:] == [
        ("roll-back", "2", "bad predictions"),
        ("roll-back", "1", "still bad"),
    ]
    with pytest.raises(DataError, match=r"no version is on record as champion before 1\. Name one: 1, 2, 3"):
        three.roll_back("previous", "x", Actor("a person", "three"))
    assert three.version_of(CHAMPION) == "1"
    assert champion_version(lab.runtime, three.name) == "1"


def test_a_roll_back_that_is_tried_again_goes_back_once(three):
    for _ in range(3):
        three.roll_back("previous", "bad", Actor("a task", "the same task"))

    assert three.version_of(CHAMPION) == "2"
    assert three.history()[-1].version == "2"


def test_a_version_that_was_rolled_back_from_is_not_promoted_again_by_itself(lab, three):
    three.roll_back("previous", "bad predictions", Actor("a person", "one"))

    verdict = lab.promote(three, "3", {"2": 0.8, "3": 0.9}, task="later")

    assert (verdict.passed, verdict.champion) == (False, "2")
    assert "version 3 was rolled back from on" in verdict.note
    assert "by a person (bad predictions)" in verdict.note
    three.roll_back("3", "it was right after all", Actor("a person", "two"))
    assert three.version_of(CHAMPION) == "3"
    assert lab.promote(three, "3", {"3": 0.9}, task="later still").passed


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("9", r"has no version 9: it was deleted, or never was\. There are: 1, 2, 3"),
        ("3", "version 3 of model .* is the champion already"),
    ],
)
def test_a_roll_back_that_cannot_be_leaves_everything_as_it_was(lab, three, target, message):
    before = lab.mlflow.get_registered_model(three.name)

    with pytest.raises(DataError, match=message):
        three.roll_back(target, "x", Actor("a person", "one"))

    after = lab.mlflow.get_registered_model(three.name)
    assert (after.aliases, after.tags) == (before.aliases, before.tags)


def test_a_roll_back_to_a_deleted_version_is_refused(lab, three):
    lab.mlflow.delete_model_version(three.name, "2")

    with pytest.raises(DataError, match=r"has no version 2: it was deleted, or never was\. There are: 1, 3"):
        three.roll_back("previous", "x", Actor("a person", "one"))
    assert three.version_of(CHAMPION) == "3"


def test_a_lock_is_held_by_one_and_let_go(lab):
    s3, bucket = client(lab.runtime), lab.site.bucket
    inside, most = [], []

    def work(number: int) -> None:
        with leased(s3, bucket, "test/one"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.05)
            inside.remove(number)

    at_once(work, range(8))

    assert most == [1] * 8
    assert "locks/test/one" not in lab.site.objects()


def test_a_lock_that_a_killed_process_left_is_taken_over_after_its_lease(lab, monkeypatch):
    s3, bucket = client(lab.runtime), lab.site.bucket
    s3.put_object(Bucket=bucket, Key="locks/test/left", Body=b"someone who is gone")
    monkeypatch.setattr("include.store.lock.LEASE", 2.0)
    began = time.monotonic()

    with leased(s3, bucket, "test/left") as lease:
        waited = time.monotonic() - began
        lease.extend()

    assert waited > 1  # it was left alone for the whole lease
    assert "locks/test/left" not in lab.site.objects()


def test_who_lost_a_lock_to_another_does_not_go_on(lab, monkeypatch):
    s3, bucket = client(lab.runtime), lab.site.bucket
    monkeypatch.setattr("include.store.lock.LEASE", 1.0)
    other_has_it, other_is_done = threading.Event(), threading.Event()

    def other() -> None:
        with leased(s3, bucket, "test/slow"):
            other_has_it.set()
            other_is_done.wait(60)

    with leased(s3, bucket, "test/slow") as lease:
        thread = threading.Thread(target=other)
        thread.start()
        assert other_has_it.wait(60)
        with pytest.raises(ServiceError, match=r"lock locks/test/slow was taken over by another process"):
            lease.extend()
    # its lock is the other's now, and is not taken away from it
    assert "locks/test/slow" in lab.site.objects()
    other_is_done.set()
    thread.join()
    assert "locks/test/slow" not in lab.site.objects()
    assert LEASE >= 30


def test_a_comparison_that_takes_longer_than_the_lease_disturbs_nobody_who_is_alone(lab, three, monkeypatch):
    monkeypatch.setattr("include.store.lock.LEASE", 0.5)
    version, _ = three.register(lab.trained[3], {}, "")

    def slowly(champion):
        time.sleep(1.5)
        return {"test_accuracy": 0.9}, "scored on the same test rows"

    rule = lab.base.registry.model_copy(update={"minimum": 0.5, "tolerances": {}})
    verdict = three.promote(version, {"test_accuracy": 0.95}, rule, slowly, Actor("a test", "slow"))

    assert verdict.passed
    assert three.version_of(CHAMPION) == version


def test_a_roll_back_task_that_is_cleared_after_a_later_promotion_changes_nothing(lab, three):
    three.roll_back("1", "bad", Actor("a person", "the task"))
    version, _ = three.register(lab.trained[3], {}, "")
    lab.promote(three, version, {"1": 0.7, version: 0.95}, task="later")
    history = three.history()

    with pytest.raises(DataError, match=f"since then version {version} became champion"):
        three.roll_back("1", "bad", Actor("a person", "the task"))

    assert three.version_of(CHAMPION) == version
    assert three.history() == history


def test_a_proposal_leaves_the_champion_and_says_so(lab, three):
    version, _ = three.register(lab.trained[3], {}, "")
    rule = lab.base.registry.model_copy(update={"minimum": 0.5, "tolerances": {}})

    verdict = three.propose(version, {"test_accuracy": 0.95}, rule, lambda champion: ({"test_accuracy": 0.9}, "same"))

    assert (verdict.passed, verdict.alias, verdict.champion) == (True, CHALLENGER, "3")
    assert lab.mlflow.get_registered_model(three.name).aliases == {"champion": "3", "challenger": version}


def test_an_answer_that_is_lost_leaves_one_version(lab, monkeypatch):
    """MLflow's client sends the request again then, and the server makes another version."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    with proxy_to(lab.site.env["MLFLOW_TRACKING_URI"]) as proxy:
        proxy.lost = lambda line: b"model-versions/create" in line
        runtime = lab.runtime.model_copy(update={"mlflow_tracking_uri": proxy.url})
        registry = Registry(lab.registry("lost-answer").config, runtime, mlflow.MlflowClient(proxy.url))

        version, new = registry.register(lab.trained[5], {}, "")

    assert proxy.swallowed
    assert (version, new) == ("1", True)
    assert lab.versions("lost-answer") == {"1": lab.trained[5]["run_id"]}


def test_a_tag_that_a_person_made_does_not_disturb_the_history(lab, three):
    lab.mlflow.set_registered_model_tag(three.name, "champion.owner", "the iris team")

    assert three.roll_back("previous", "bad", Actor("a person", "one")).version == "2"


@pytest.fixture(scope="module")
def other_rows(lab):
    """Test rows that no version was scored on, in the store; their md5."""
    rows = load_builtin("iris", "target")[::3].to_csv(index=False).encode()
    return put(lab, rows)


def put(lab, content: bytes) -> str:
    md5 = hashlib.md5(content).hexdigest()
    key = f"{lab.base.storage.prefix}/files/md5/{md5[:2]}/{md5[2:]}"
    lab.site.s3.put_object(Bucket=lab.site.bucket, Key=key, Body=content)
    return md5


def judge_on(lab, registry: Registry, md5: str):
    comparison = Comparison(lab.base, lab.runtime, lab.mlflow, md5)
    metrics = {"test_accuracy": 0.95, "test_f1_macro": 0.95, "test_log_loss": 0.2}
    return registry.promote("2", metrics, lab.base.registry, comparison.scores_of, Actor("a test", "task-2"))


def two(lab, name: str, first: int) -> Registry:
    registry = lab.registry(name)
    for number in (first, 11):
        registry.register(lab.trained[number], {"md5.test_data": "of other rows"}, "")
    lab.promote(registry, "1", {"1": 0.8})
    return registry


def test_a_champion_that_was_scored_on_other_rows_is_scored_on_the_new_ones(lab, other_rows):
    registry = two(lab, "fair", 9)
    rows = load_builtin("iris", "target")[::3]
    model = mlflow.sklearn.load_model(lab.trained[9]["model_uri"])
    accuracy = float((model.predict(rows.drop(columns="target")) == rows["target"]).mean())

    verdict = judge_on(lab, registry, other_rows)

    assert [check.champion for check in verdict.checks][1] == pytest.approx(accuracy)
    assert f"compared with version 1, which was scored on other test rows: scored anew on these (md5 {other_rows})" in (
        verdict.note
    )


def test_a_model_for_other_columns_is_not_compared_and_does_not_take_the_champions_place(lab):
    registry = two(lab, "columns", 9)
    rows = load_builtin("iris", "target")[::3].rename(columns={"petal_width_cm": "width"})

    verdict = judge_on(lab, registry, put(lab, rows.to_csv(index=False).encode()))

    assert (verdict.passed, verdict.alias, verdict.champion) == (False, "challenger", "1")
    assert "cannot be compared: the test rows lack its columns petal_width_cm" in verdict.note
    assert lab.mlflow.get_registered_model("columns").aliases == {"champion": "1", "challenger": "2"}


def test_a_champion_whose_model_is_gone_is_named_and_the_aliases_stay(lab, other_rows):
    registry = two(lab, "gone", 10)
    model_id = lab.trained[10]["model_uri"].removeprefix("models:/")
    (folder,) = (Path(lab.site.env["AIRFLOW_HOME"]).parent / "mlflow-artifacts").rglob(model_id)
    shutil.rmtree(folder)

    with pytest.raises(DataError, match=r"the champion, version 1 of gone, cannot be loaded .*rollback VERSION"):
        judge_on(lab, registry, other_rows)
    assert lab.mlflow.get_registered_model("gone").aliases == {"champion": "1"}


def failure(do, runtime) -> ServiceError | None:
    try:
        with translated_errors(runtime):
            do()
    except ServiceError as error:
        return error
    return None


@pytest.mark.parametrize("work", ["roll back", "promote"])
def test_mlflow_that_goes_away_in_the_middle_leaves_the_champion_and_the_next_try_is_right(
    lab, three, work, monkeypatch
):
    """After each number of requests."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before, name = dict(lab.mlflow.get_registered_model(three.name).aliases), three.name
    version, _ = three.register(lab.trained[3], {}, "")
    scores = {"1": 0.7, "2": 0.8, "3": 0.9, version: 0.95}

    def do(registry: Registry) -> None:
        if work == "promote":
            lab.promote(registry, version, scores, task="one task")
        else:
            registry.roll_back("previous", "bad", Actor("a person", "one task"))

    with proxy_to(lab.site.env["MLFLOW_TRACKING_URI"]) as proxy:
        runtime = lab.runtime.model_copy(update={"mlflow_tracking_uri": proxy.url})
        cut = Registry(three.config, runtime, mlflow.MlflowClient(proxy.url))
        for answered in range(20):
            proxy.left = answered
            error = failure(lambda: do(cut), runtime)
            if error is None:
                break
            assert f"MLflow at {proxy.url}" in str(error)
            there = dict(lab.mlflow.get_registered_model(name).aliases)
            assert there.get("champion") in (before["champion"], version if work == "promote" else "2")
        assert answered > 3

    holder, changed = three.version_of(CHAMPION), three.history()
    assert holder == (version if work == "promote" else "2")
    assert [change.version for change in changed[3:]] == [holder] * len(changed[3:])
    assert promotion_chain(changed, holder) == (["1", "2", "3", version] if work == "promote" else ["1", "2"])


def test_a_store_that_goes_away_in_the_middle_leaves_the_champion(lab, three):
    before = dict(lab.mlflow.get_registered_model(three.name).aliases)
    with proxy_to(lab.site.env["AWS_ENDPOINT_URL"]) as proxy:
        runtime = lab.runtime.model_copy(update={"aws_endpoint_url": proxy.url})
        cut = Registry(three.config, runtime, lab.mlflow)
        for answered in (0, 1):  # before the lock is lease, and before it is extended
            proxy.left = answered
            with pytest.raises(ServiceError, match="the object store at"):
                cut.roll_back("previous", "bad", Actor("a person", f"task {answered}"))
            assert dict(lab.mlflow.get_registered_model(three.name).aliases) == before
            for key in lab.site.objects():
                if key.startswith("locks/"):  # what the lease is for
                    lab.site.s3.delete_object(Bucket=lab.site.bucket, Key=key)
