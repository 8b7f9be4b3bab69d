"""What the refusals mean that MLflow's client reports: wrong credentials cannot pass, a refused request may."""

import pytest

from include.errors import AccessError, ConfigError, PipelineError, ServiceError
from include.mlflow_client import translated_errors
from include.settings import RuntimeSettings


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [(401, AccessError, "MLFLOW_TRACKING_PASSWORD"), (403, ServiceError, "permissions of the user")],
)
def test_mlflows_own_client(code: int, kind: type[PipelineError], said: str):
    from mlflow.exceptions import MlflowException

    with pytest.raises(kind, match=said) as caught, translated_errors(RuntimeSettings()):
        raise MlflowException(f"API request to endpoint /x failed with error code {code} != 200. Response body: 'no'")

    assert type(caught.value) is kind


@pytest.mark.parametrize("text", ["Model with name=x not found", "Model with name=x not found."])
def test_a_refusal_is_a_sentence_that_ours_follows(text: str):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

    with pytest.raises(ConfigError) as caught, translated_errors(RuntimeSettings()):
        raise MlflowException(text, RESOURCE_DOES_NOT_EXIST)

    assert "Model with name=x not found. Check mlflow and registry in config/config.yaml." in str(caught.value)
