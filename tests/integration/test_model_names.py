"""A registered model may have nearly any name: with a real MLflow and a real store."""

import re
from functools import partial

import mlflow
import pytest

from include.errors import DataError
from include.mlflow_client import CHAMPION, versions_of_model
from include.mlflow_requests import champion_version
from include.registry.champion import Actor
from include.registry.comparison import load_model
from tests.support.registries import registries_of


@pytest.fixture(scope="module")
def registries(make_deployment):
    with registries_of(make_deployment("names")) as registries:
        yield registries


NAMES = ["o'brien", 'a "quoted" name', "back\\slash\\", "50%_off", "two words.v2", "模型-é😀", "[x];*~`$&="]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_name_a_run_that_is_tried_again_has_one_version_and_mlflow_loads_it(registries, name):
    registry = registries.registry(name)
    twin = registries.registry(re.sub(r"[^a-z]", "x", name))  # fits any pattern that the name fits
    runs = [registries.trained(number) for number in range(2)]
    for _ in range(2):
        twin.register(runs[0], {}, "")

    found = [registry.register(run, {}, "") for run in runs for _ in range(3)]

    assert found == [("1", True), ("1", False), ("1", False), ("2", True), ("2", False), ("2", False)]
    assert versions_of_model(registries.mlflow, name) == ["1", "2"]
    assert registries.promote(registry, "2", {"2": 0.9}).alias == CHAMPION
    assert champion_version(registries.runtime, name) == "2"
    with pytest.raises(DataError, match=r"has no version 9: it was deleted or never existed\. Available: 1, 2\."):
        registry.roll_back("9", "x", Actor("a person", "one"))
    load_model(name, "2", "it")
    mlflow.sklearn.load_model(f"models:/{name}@champion")


def test_all_versions_are_found_on_however_many_pages_they_come(registries, monkeypatch):
    registry = registries.registry("pages")
    for number in range(4):
        registry.register(registries.trained(number), {}, "")
    monkeypatch.setattr(
        registries.mlflow, "search_model_versions", partial(registries.mlflow.search_model_versions, max_results=1)
    )

    assert versions_of_model(registries.mlflow, "pages") == ["1", "2", "3", "4"]
    assert registry.register(registries.trained(2), {}, "") == ("3", False)
