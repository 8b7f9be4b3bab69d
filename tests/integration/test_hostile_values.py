"""Values from users are data: nothing of them is run or rendered, also where a stage's command interpolates a param."""

import json

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
def site(make_site):
    return make_site("hostile")


@pytest.fixture
def pwned(tmp_path):
    return tmp_path / "pwned"


def test_a_hostile_value_is_carried_as_data(site, pwned):
    values = [value.format(pwned=pwned) for value in HOSTILE]

    runs = site.dag(*({"conf": {"data.target": value}} for value in values))

    for run, value in zip(runs, values, strict=True):
        assert run["state"] == "success"
        assert json.loads(json.dumps(run["xcoms"]["resolve_config:config"]))["data"]["target"] == value
        assert "resolve_config:pwned" not in run["xcoms"]
    assert not pwned.exists()


@pytest.mark.parametrize("value", ["a\nb", "x" * 1_000_000, "a\x00b"])
def test_line_breaks_control_characters_and_a_megabyte_are_refused(site, value, pwned):
    from include.config_file import apply_overrides, read_config_document, validate_config
    from include.errors import ConfigError

    with pytest.raises(ConfigError, match=r"data\.target: ") as caught:
        validate_config(apply_overrides(read_config_document(), {"data.target": value}, "conf"))

    assert len(str(caught.value)) < 500


def test_a_run_whose_values_would_change_a_command_is_refused(site, pwned):
    file = site.project / "dvc.yaml"
    command = "cmd: python -m include.stages.preprocess"
    text = file.read_text()
    assert command in text
    file.write_text(text.replace(command, f"{command} && echo ${{data.target}}"))
    try:
        as_configured, hostile = site.dag({}, {"conf": {"data.target": f"$(touch {pwned})"}})
    finally:
        file.write_text(text)

    assert as_configured["state"] == "success"
    assert hostile["tasks"]["pipeline.preprocess"] == "failed"
    assert hostile["tries"]["pipeline.preprocess"] == 1
    assert "would change its command in dvc.yaml, which is refused" in hostile["failures"]["pipeline.preprocess"]
    assert not pwned.exists()
