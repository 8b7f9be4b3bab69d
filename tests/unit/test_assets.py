"""The Assets of the DAGs, named after the registered model."""

from itertools import combinations

from include.settings.config_file import validate_config
from ml_operators.assets import champion_asset, model_asset, raw_data_asset


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
