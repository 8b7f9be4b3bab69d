"""The clients of the store: what they share, and what is said where the store cannot be used."""

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from include.errors import AccessError, ServiceError
from include.settings import RuntimeSettings, how_to_start
from include.store.client import client, session, translated_errors


def test_however_many_clients_there_were_botocore_looks_into_each_folder_once():
    runtime = RuntimeSettings(_env_file=None, aws_access_key_id="a", aws_secret_access_key="b")
    for _ in range(3):
        client(runtime)

    paths = session().get_component("data_loader").search_paths
    assert len(paths) == len(set(paths))
    assert [path for path in paths if "boto3" in path]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NoCredentialsError(), AccessError),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9000"), ServiceError),
    ],
)
def test_of_a_store_of_this_project_it_is_said_how_to_start_it(error, kind):
    for endpoint, is_own in (("http://127.0.0.1:9000", True), ("http://store:9000", False)):
        runtime = RuntimeSettings(_env_file=None, aws_endpoint_url=endpoint)
        with pytest.raises(kind) as caught, translated_errors(runtime, "listing"):
            raise error
        assert ('eval "$(make -s env-vars)"' in str(caught.value)) is is_own


def test_an_address_that_is_none_has_no_advice():
    assert [how_to_start(address) for address in ("", "http://[", "AWS")] == ["", "", ""]
