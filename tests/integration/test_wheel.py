"""The wheel of dvc_airflow: what is in it, and what it says of itself. `make test-wheel` installs it."""

import ast
import json
import re
import sys
import tarfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.built import PLUGINS, build, distribution_in
from tests.support.copies import ROOT
from tests.wheel.environments import OLDEST, newest_airflow

#: who brings what is inside another package's folder
INSIDE = {
    "airflow.providers.standard": "apache-airflow-providers-standard",
    "airflow.providers.openlineage": "apache-airflow-providers-openlineage",
    "airflow.providers.cncf": "apache-airflow-providers-cncf-kubernetes",
    "airflow": "apache-airflow",
    "openlineage": "openlineage-python",
    "ruamel.yaml": "ruamel-yaml",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def distribution(built):
    return distribution_in(built[0])


@pytest.fixture(scope="module")
def requirements(distribution) -> list[Requirement]:
    return [Requirement(line) for line in distribution.requires]


def test_it_has_the_package_alone_with_all_its_modules_types_and_the_licence(built):
    wheel, sdist = built
    with ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
        licence = archive.read(next(name for name in files if name.endswith("licenses/LICENSE")))
    suffixes = (".py", ".jinja", ".css", ".js")
    ours = (path for path in (PLUGINS / "dvc_airflow").rglob("*") if path.suffix in suffixes)
    modules = {str(path.relative_to(PLUGINS)) for path in ours}

    assert licence == (ROOT / "LICENSE").read_bytes()
    assert {name for name in files if ".dist-info/" not in name} == {*modules, "dvc_airflow/py.typed"}
    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2]: member for member in archive if member.isfile()}
        assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", *modules} <= set(members)
        assert archive.extractfile(members["LICENSE"]).read() == licence


def test_airflow_accepts_what_the_entry_point_says(distribution):
    import airflow

    (entry,) = distribution.entry_points.select(group="apache_airflow_provider")
    information = entry.load()()

    assert entry.name == "provider_info"
    assert information["package-name"] == distribution.metadata["Name"] == "airflow-provider-dvc"
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(information)


def test_airflow_finds_the_plugin_with_the_tabs_and_what_fails_a_run_whose_pool_does_not_exist(distribution):
    (entry,) = distribution.entry_points.select(group="airflow.plugins")

    assert entry.name == entry.load().name == "dvc_airflow"
    assert [type(listener).__name__ for listener in entry.load().listeners] == ["PoolListener"]
    assert {view["destination"] for view in entry.load().external_views} == {"dag", "dag_run"}
    assert [app["url_prefix"] for app in entry.load().fastapi_apps] == ["/dvc-runs"]


def test_operator_modules_that_airflow_is_told_of_exist(distribution):
    (entry,) = distribution.entry_points.select(group="apache_airflow_provider")
    for named in entry.load()()["operators"]:
        for module in named["python-modules"]:
            assert (PLUGINS / f"{module.replace('.', '/')}.py").exists(), module


def test_every_package_that_it_imports_is_declared(requirements):
    declared = {canonicalize_name(requirement.name) for requirement in requirements}

    undeclared = {}
    for file in (PLUGINS / "dvc_airflow").rglob("*.py"):
        for module in third_party_imports(file):
            if not distributions_of(module) & declared:
                undeclared[module] = str(file.relative_to(PLUGINS))
    assert not undeclared, "declare their packages in plugins/pyproject.toml"


def test_no_package_is_declared_that_it_does_not_import(requirements):
    modules = {module for file in (PLUGINS / "dvc_airflow").rglob("*.py") for module in third_party_imports(file)}
    imported = {name for module in modules for name in distributions_of(module)}

    needed = {canonicalize_name(requirement.name) for requirement in requirements if requirement.marker is None}
    assert needed <= imported


def third_party_imports(file: Path) -> set[str]:
    """Also those within functions; not those for type checkers alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    nodes = [node for node in ast.walk(tree) if id(node) not in skipped]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name for name in names if name.split(".")[0] not in {*sys.stdlib_module_names, "dvc_airflow"}}


def distributions_of(module: str) -> set[str]:
    for prefix, distribution in INSIDE.items():
        if f"{module}.".startswith(f"{prefix}."):
            return {distribution}
    return {canonicalize_name(name) for name in installed().get(module.split(".")[0], ())}


@cache
def installed() -> Mapping[str, list[str]]:
    """The names of the distributions that bring a package, by the package; Python looks through all of them."""
    return packages_distributions()


def test_the_extras_are_those_that_the_readme_lists(distribution):
    extras = set(distribution.metadata.get_all("Provides-Extra"))

    section = (PLUGINS / "README.md").read_text().partition("## Extras")[2].partition("\n## ")[0]
    assert extras == set(re.findall(r"^\| `([a-z0-9]+)` \|", section, re.MULTILINE))


def test_the_airflows_that_make_test_wheel_tries_are_the_oldest_declared_and_the_newest(requirements):
    (airflow,) = [requirement for requirement in requirements if requirement.name == "apache-airflow"]
    (oldest,) = [part.version for part in airflow.specifier if part.operator == ">="]

    assert OLDEST.version == f"{oldest}.0"
    assert airflow.specifier.contains(newest_airflow().version)


def test_the_changelog_has_the_version(distribution):
    assert f"## [{distribution.version}]" in (PLUGINS / "CHANGELOG.md").read_text()
