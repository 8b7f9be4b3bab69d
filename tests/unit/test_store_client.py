"""The clients of the store share what botocore's files say, and nothing else of a session."""

from include.settings import RuntimeSettings
from include.store.client import client, session


def test_however_many_clients_there_were_botocore_looks_into_each_folder_once():
    runtime = RuntimeSettings(_env_file=None, aws_access_key_id="a", aws_secret_access_key="b")
    for _ in range(3):
        client(runtime)

    paths = session().get_component("data_loader").search_paths
    assert len(paths) == len(set(paths))
    assert [path for path in paths if "boto3" in path]
