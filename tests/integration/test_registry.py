"""The registry under retries and parallel runs, with a real MLflow and a real store."""

import hashlib
import time

import mlflow
import pytest

from include.errors import DataError, ServiceError
from include.mlflow_client import translated_errors
from include.mlflow_requests import champion_version
from include.registry.champion import CHALLENGER, CHAMPION, Actor
from include.registry.history import promotion_chain
from include.registry.registry import Registry, Scores
from tests.support.concurrency import at_once
from tests.support.proxy import proxy_to
from tests.support.registries import registries_of


@pytest.fixture(scope="module")
def registries(make_deployment):
    with registries_of(make_deployment("registry")) as registries:
        yield registries


def test_twenty_tries_at_once_make_one_version(registries):
    run = registries.trained(0)

    found = at_once(lambda _: registries.registry("tries").register(run, {"git_sha": "x"}, "*text*"), range(20))

    assert {version for version, _ in found} == {"1"}
    assert sorted(new for _, new in found) == [False] * 19 + [True]
    assert registries.versions("tries") == {"1": run["run_id"]}
    registered = registries.mlflow.get_model_version("tries", "1")
    assert (registered.tags["git_sha"], registered.description) == ("x", "*text*")


def test_runs_that_promote_at_once_leave_one_champion_the_best(registries):
    trained = [registries.trained(number) for number in range(10)]
    accuracy = {str(number + 1): 0.6 + 0.03 * ((number * 7) % 10) for number in range(10)}

    def run(number: int):
        registry = registries.registry("promotions")
        version, _ = registry.register(trained[number], {}, "")
        mine = {version: accuracy[str(number + 1)]}
        return number, version, mine

    registered = at_once(run, range(10))
    scores = {version: mine[version] for _, version, mine in registered}
    best = max(scores, key=lambda version: (scores[version], int(version)))

    verdicts = at_once(
        lambda version: registries.promote(registries.registry("promotions"), version, scores), sorted(scores)
    )

    assert set(registries.versions("promotions").values()) == {run["run_id"] for run in trained}
    assert len(registries.versions("promotions")) == 10
    registry = registries.registry("promotions")
    assert registry.version_of(CHAMPION) == best
    assert registry.version_of(CHALLENGER) != best
    promoted = [verdict.version for verdict in verdicts if verdict.passed]
    assert sorted(change.version for change in registry.history()) == sorted(promoted)
    assert registry.history()[-1].version == best


def test_a_task_that_is_tried_again_says_the_same_and_changes_nothing(registries):
    registry = registries.registry("retried")
    for number in range(2):
        registry.register(registries.trained(number), {}, "")
    scores = {"1": 0.8, "2": 0.9}
    registries.promote(registry, "1", scores)
    first = registries.promote(registry, "2", scores)
    history = registry.history()

    again = registries.promote(registry, "2", scores)

    assert again == first
    assert (first.passed, first.compared_with, first.champion) == (True, "1", "2")
    assert registry.history() == history


def test_one_that_does_not_pass_is_challenger_and_the_champion_stays(registries):
    registry = registries.registry("worse")
    for number in range(2):
        registry.register(registries.trained(number), {}, "")
    scores = {"1": 0.9, "2": 0.8}
    registries.promote(registry, "1", scores)

    verdict = registries.promote(registry, "2", scores)

    assert (verdict.passed, verdict.alias, verdict.champion) == (False, "challenger", "1")
    assert registries.mlflow.get_registered_model("worse").aliases == {"champion": "1", "challenger": "2"}


@pytest.fixture
def three(registries, request):
    """Three versions that became champion one after the other."""
    name = f"three-{hashlib.md5(request.node.name.encode()).hexdigest()}"
    registry = registries.registry(name)
    for number in range(3):
        registry.register(registries.trained(number), {}, "")
    for version in ("1", "2", "3"):
        registries.promote(registry, version, {"1": 0.7, "2": 0.8, "3": 0.9})
    return registry


def test_a_roll_back_goes_to_the_champion_before_and_then_to_the_one_before_that(registries, three):
    first = three.roll_back("previous", "bad predictions", Actor("a person", "one"))
    assert (first.before, first.version, three.version_of(CHAMPION)) == ("3", "2", "2")
    second = three.roll_back("previous", "still bad", Actor("a person", "two"))
    assert (second.before, second.version, three.version_of(CHAMPION)) == ("2", "1", "1")

    assert [(change.kind, change.version, change.reason) for change in three.history()][-2:] == [
        ("roll-back", "2", "bad predictions"),
        ("roll-back", "1", "still bad"),
    ]
    with pytest.raises(DataError, match=r"no version is recorded as champion before 1\. Name one: 2, 3\.$"):
        three.roll_back("previous", "x", Actor("a person", "three"))
    assert three.version_of(CHAMPION) == "1"
    assert champion_version(registries.runtime, three.name) == "1"


def test_a_roll_back_that_is_tried_again_goes_back_once(three):
    for _ in range(3):
        three.roll_back("previous", "bad", Actor("a task", "the same task"))

    assert three.version_of(CHAMPION) == "2"
    assert three.history()[-1].version == "2"


def test_a_version_that_was_rolled_back_from_is_not_promoted_again_by_itself(registries, three):
    three.roll_back("previous", "bad predictions", Actor("a person", "one"))

    verdict = registries.promote(three, "3", {"2": 0.8, "3": 0.9}, task="later")

    assert (verdict.passed, verdict.champion) == (False, "2")
    assert "version 3 was rolled back on" in verdict.note
    assert "by a person (bad predictions)" in verdict.note
    three.roll_back("3", "it was right after all", Actor("a person", "two"))
    assert three.version_of(CHAMPION) == "3"
    assert registries.promote(three, "3", {"3": 0.9}, task="later still").passed


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("9", r"has no version 9: it was deleted or never existed\. Available: 1, 2, 3"),
        ("3", "version 3 of model .* is already the champion"),
    ],
)
def test_a_roll_back_that_cannot_be_leaves_everything_as_it_was(registries, three, target, message):
    before = registries.mlflow.get_registered_model(three.name)

    with pytest.raises(DataError, match=message):
        three.roll_back(target, "x", Actor("a person", "one"))

    after = registries.mlflow.get_registered_model(three.name)
    assert (after.aliases, after.tags) == (before.aliases, before.tags)


def test_a_roll_back_to_a_deleted_version_is_refused(registries, three):
    registries.mlflow.delete_model_version(three.name, "2")

    with pytest.raises(DataError, match=r"has no version 2: it was deleted or never existed\. Available: 1, 3"):
        three.roll_back("previous", "x", Actor("a person", "one"))
    assert three.version_of(CHAMPION) == "3"


def test_a_change_that_was_planned_before_another_one_is_not_made(three):
    plan = three.plan("roll-back", "previous", "bad", Actor("a person", "slow"))
    three.roll_back("1", "worse", Actor("a person", "fast"))
    history = three.history()

    with pytest.raises(DataError, match=r"is version 1 now: it was changed meanwhile\. Nothing was changed"):
        three.carry_out(plan)

    assert (three.version_of(CHAMPION), three.history()) == ("1", history)


def test_a_comparison_that_takes_longer_than_the_lease_disturbs_nobody_who_is_alone(registries, three, monkeypatch):
    monkeypatch.setattr("include.store.lock.LEASE", 0.5)
    version, _ = three.register(registries.trained(3), {}, "")

    def slowly(champion):
        time.sleep(1.5)
        return Scores({"test_accuracy": 0.9}, "scored on the same test rows")

    rule = registries.by_value
    verdict = three.promote(version, {"test_accuracy": 0.95}, rule, slowly, Actor("a test", "slow"))

    assert verdict.passed
    assert three.version_of(CHAMPION) == version


def test_a_roll_back_task_that_is_cleared_after_a_later_promotion_changes_nothing(registries, three):
    three.roll_back("1", "bad", Actor("a person", "the task"))
    version, _ = three.register(registries.trained(3), {}, "")
    registries.promote(three, version, {"1": 0.7, version: 0.95}, task="later")
    history = three.history()

    with pytest.raises(DataError, match=f"since then version {version} became champion"):
        three.roll_back("1", "bad", Actor("a person", "the task"))

    assert three.version_of(CHAMPION) == version
    assert three.history() == history


def test_a_proposal_leaves_the_champion_and_says_so(registries, three):
    version, _ = three.register(registries.trained(3), {}, "")
    rule = registries.by_value

    verdict = three.propose(version, {"test_accuracy": 0.95}, rule, lambda _: Scores({"test_accuracy": 0.9}, "same"))

    assert (verdict.passed, verdict.alias, verdict.champion) == (True, CHALLENGER, "3")
    assert registries.mlflow.get_registered_model(three.name).aliases == {"champion": "3", "challenger": version}


def test_an_answer_that_is_lost_leaves_one_version(registries, monkeypatch):
    """MLflow's client sends the request again then, and the server makes another version."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    with proxy_to(registries.deployment.env["MLFLOW_TRACKING_URI"]) as proxy:
        proxy.lost = lambda line: b"model-versions/create" in line
        runtime = registries.runtime.model_copy(update={"mlflow_tracking_uri": proxy.url})
        registry = Registry(registries.registry("lost-answer").config, runtime, mlflow.MlflowClient(proxy.url))

        version, new = registry.register(registries.trained(5), {}, "")

    assert proxy.swallowed
    assert (version, new) == ("1", True)
    assert registries.versions("lost-answer") == {"1": registries.trained(5)["run_id"]}


def test_a_tag_that_a_person_made_does_not_disturb_the_history(registries, three):
    registries.mlflow.set_registered_model_tag(three.name, "champion.owner", "the iris team")

    assert three.roll_back("previous", "bad", Actor("a person", "one")).version == "2"


def failure(do, runtime) -> ServiceError | None:
    try:
        with translated_errors(runtime):
            do()
    except ServiceError as error:
        return error
    return None


@pytest.mark.parametrize("work", ["roll back", "promote"])
def test_mlflow_that_goes_away_in_the_middle_leaves_the_champion_and_the_next_try_is_right(
    registries, three, work, monkeypatch
):
    """After each number of requests."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before, name = dict(registries.mlflow.get_registered_model(three.name).aliases), three.name
    version, _ = three.register(registries.trained(3), {}, "")
    scores = {"1": 0.7, "2": 0.8, "3": 0.9, version: 0.95}

    def do(registry: Registry) -> None:
        if work == "promote":
            registries.promote(registry, version, scores, task="one task")
        else:
            registry.roll_back("previous", "bad", Actor("a person", "one task"))

    with proxy_to(registries.deployment.env["MLFLOW_TRACKING_URI"]) as proxy:
        runtime = registries.runtime.model_copy(update={"mlflow_tracking_uri": proxy.url})
        cut = Registry(three.config, runtime, mlflow.MlflowClient(proxy.url))
        for answered in range(20):
            proxy.left = answered
            error = failure(lambda: do(cut), runtime)
            if error is None:
                break
            assert f"MLflow at {proxy.url}" in str(error)
            there = dict(registries.mlflow.get_registered_model(name).aliases)
            assert there.get("champion") in (before["champion"], version if work == "promote" else "2")
        assert answered > 3

    holder, changed = three.version_of(CHAMPION), three.history()
    assert holder == (version if work == "promote" else "2")
    assert [change.version for change in changed[3:]] == [holder] * len(changed[3:])
    assert promotion_chain(changed, holder) == (["1", "2", "3", version] if work == "promote" else ["1", "2"])


def test_a_store_that_goes_away_in_the_middle_leaves_the_champion(registries, three):
    before = dict(registries.mlflow.get_registered_model(three.name).aliases)
    with proxy_to(registries.deployment.env["AWS_ENDPOINT_URL"]) as proxy:
        runtime = registries.runtime.model_copy(update={"aws_endpoint_url": proxy.url})
        cut = Registry(three.config, runtime, registries.mlflow)
        for answered in (0, 1):  # before the lock is leased, and before it is extended
            proxy.left = answered
            with pytest.raises(ServiceError, match="the object store at"):
                cut.roll_back("previous", "bad", Actor("a person", f"task {answered}"))
            assert dict(registries.mlflow.get_registered_model(three.name).aliases) == before
            for key in registries.deployment.objects():
                if key.startswith("locks/"):  # what the lease is for
                    registries.deployment.s3.delete_object(Bucket=registries.deployment.bucket, Key=key)
