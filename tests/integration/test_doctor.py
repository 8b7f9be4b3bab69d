"""``python -m include doctor``, and settings that cannot work."""

import pytest

NOWHERE = "http://127.0.0.1:9"  # the port of `discard`: nothing answers


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("doctor")


def test_the_doctor_finds_everything_in_order(deployment):
    lines = deployment.cli("doctor").splitlines()

    assert {line.split()[0] for line in lines} == {"ok"}
    found = {finding["what"]: finding["detail"] for finding in deployment.cli_json("doctor")}
    assert set(found) >= {"packages", "config", "store", "store permissions", "store locks", "tracking", "registry"}
    assert found["registry"] == f"champion of {deployment.model}: none yet; run the pipeline"


def test_the_doctor_says_what_to_do_about_each_thing_that_is_not_in_order(deployment):
    done = deployment.python("-m", "include", "doctor", MLFLOW_TRACKING_URI=NOWHERE, AWS_SECRET_ACCESS_KEY="wrong")

    failed = {line.split(":")[0]: line for line in done.stdout.splitlines() if line.startswith("FAIL")}
    assert done.returncode == 1
    assert set(failed) >= {"FAIL  store", "FAIL  store permissions", "FAIL  tracking", "FAIL  registry"}
    assert "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in failed["FAIL  store"]
    assert f"MLflow at {NOWHERE} does not answer" in failed["FAIL  tracking"]
    assert "wrong" not in done.stdout


@pytest.mark.parametrize(
    "variables", [{"AWS_PROFILE": "nobody"}, {"AWS_DEFAULT_REGION": "no region"}, {"AWS_ENDPOINT_URL": "nowhere"}]
)
def test_settings_of_the_store_that_cannot_be_are_named(deployment, variables):
    (name,) = variables

    assert f"{name}" in deployment.cli("show", "1", code=1, **variables)
