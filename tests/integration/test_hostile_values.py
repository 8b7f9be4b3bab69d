"""Values from users are data: nothing of them is run or rendered, also where a stage's command interpolates a param."""

import json
import os
import tempfile
from pathlib import Path

import pytest

HOSTILE = [
    "$(touch {pwned})",
    "`touch {pwned}`",
    "'; touch {pwned}; '",
    '"; touch {pwned}; "',
    "{{{{ ti.xcom_push('pwned', 1) }}}}{{% for x in (1,) %}}x{{% endfor %}}",
    "| touch {pwned} &",
]


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("hostile")


@pytest.fixture
def pwned():
    """A file that is there if something of a value was run; of a short name, for MLflow's names are bounded."""
    file = Path(tempfile.gettempdir()) / f"pwned-{os.getpid()}"
    yield file
    file.unlink(missing_ok=True)


def test_a_hostile_value_is_carried_as_data(deployment, pwned):
    values = [value.format(pwned=pwned) for value in HOSTILE]
    # The name of a column, which the stages read, and a name that goes to MLflow; each holds every kind of quote.
    column, experiment = " ".join(values[::2]), " ".join(values[1::2])

    (run,) = deployment.dag({"conf": {"data.target": column, "mlflow.experiment": experiment}})

    assert run["state"] == "success"
    resolved = json.loads(json.dumps(run["returned"]["resolve_config"]["config"]))
    assert (resolved["data"]["target"], resolved["mlflow"]["experiment"]) == (column, experiment)
    assert deployment.mlflow.get_experiment_by_name(experiment) is not None
    assert "resolve_config:pwned" not in run["xcoms"]
    assert not pwned.exists()


@pytest.mark.parametrize("value", ["a\nb", "x" * 1_000_000, "a\x00b"])
def test_line_breaks_control_characters_and_a_megabyte_are_refused(deployment, value, pwned):
    from include.errors import ConfigError
    from include.settings.config_file import apply_overrides, read_config_document, validate_config

    with pytest.raises(ConfigError, match=r"data\.target: ") as caught:
        validate_config(apply_overrides(read_config_document(), {"data.target": value}, "conf"))

    assert len(str(caught.value)) < 500


def test_a_run_whose_values_would_change_a_command_is_refused(deployment, pwned):
    file = deployment.project / "dvc.yaml"
    command = "cmd: python -m include.stages.get_data"
    text = file.read_text()
    assert command in text
    file.write_text(text.replace(command, f"{command} && echo ${{data.target}}"))
    try:
        # Of the first it is enough that the stage runs: the next one refuses a split into so few rows.
        as_configured, hostile = deployment.dag(
            {"conf": {"split.test_size": 0.001}}, {"conf": {"data.target": f"$(touch {pwned})"}}
        )
    finally:
        file.write_text(text)

    assert as_configured["tasks"]["pipeline.get_data"] == "success"
    assert hostile["tasks"]["pipeline.get_data"] == "failed"
    assert hostile["tries"]["pipeline.get_data"] == 1
    assert "would change its command in dvc.yaml, which is refused" in hostile["failures"]["pipeline.get_data"]
    assert not pwned.exists()
