"""The Assets of the DAGs, named after the registered model."""

from itertools import combinations

import pytest
from airflow.models.asset import AssetAliasModel, AssetModel

from include.settings.config_file import validate_config
from ml_operators.assets import alias_of, champion_asset, model_asset, raw_data_asset


def test_another_bucket_and_other_paths_leave_the_assets_as_they_are(config_document):
    # Airflow keeps an Asset inactive whose name it knows with another address, until a scheduler clears the old one.
    before = validate_config(config_document)
    config_document["storage"] |= {"bucket": "another-bucket", "prefix": "elsewhere"}
    config_document["paths"]["raw_data"] = "data/raw/other.parquet"
    after = validate_config(config_document)

    for asset in (raw_data_asset, model_asset, champion_asset):
        assert (asset(after).name, asset(after).uri) == (asset(before).name, asset(before).uri)


def test_no_two_assets_share_a_name_or_an_address_not_even_those_of_two_models(config_document):
    one = validate_config(config_document)
    config_document["registry"]["model_name"] = "other-model"
    other = validate_config(config_document)

    assets = [asset(config) for config in (one, other) for asset in (raw_data_asset, model_asset, champion_asset)]
    for first, second in combinations(assets, 2):
        assert first.name != second.name
        assert first.uri != second.uri


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("iris-classifier", "iris-classifier"),
        ('o\'brien & \\ "x" [y];+=~', 'o\'brien & \\ "x" [y];+=~'),
        ("50%", "50%25"),  # else it could be the address of another name
        ("模型", "%E6%A8%A1%E5%9E%8B"),
        ("m" * 255, "m" * 255),
    ],
)
def test_airflows_database_takes_the_assets_of_any_model(config_document, name, address):
    config_document["registry"]["model_name"] = name
    config = validate_config(config_document)

    assert champion_asset(config).uri == f"x-mlflow://models/{address}@champion"
    for asset in (raw_data_asset(config), model_asset(config), champion_asset(config)):
        AssetModel(name=asset.name, uri=asset.uri)  # refuses an address that is not ASCII
        AssetAliasModel(name=alias_of(asset))
        assert max(len(asset.uri), len(alias_of(asset))) < 1500  # the width of Airflow's columns
