"""``python -m include.services.embedded.mlflow_server``: MLflow's server, in one process.

The command ``mlflow server`` imports MLflow, and starts another process that imports it again: seconds for nothing.
What it would hand on to that process is set here.
"""

import argparse
import gc
import os
from pathlib import Path
from typing import Any

ARTIFACTS = "mlflow-artifacts:/"  # what clients call the folder: the server reads and writes it for them


def main() -> None:
    """Migrate the database, which is in MLFLOW_BACKEND_STORE_URI, and serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--artifacts", required=True, help="the folder with the artifacts")
    arguments = parser.parse_args()
    gc.disable()  # imports leave little garbage; to look for it would take a third of their time
    # Before mlflow.server, for security: that installs its check of the Host header (against DNS rebinding) only if it
    # finds uvicorn imported.
    import uvicorn

    app = _app(os.environ["MLFLOW_BACKEND_STORE_URI"], arguments.artifacts)
    from mlflow import server

    gc.freeze()
    gc.enable()
    log_config = str(Path(server.__file__).with_name("uvicorn_log_config.yaml"))
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_config=log_config)


def _app(database: str, artifacts: str) -> Any:
    from mlflow.server import constants, handlers

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = database
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = ARTIFACTS
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = artifacts
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    handlers.initialize_backend_stores(database, database, ARTIFACTS)
    from mlflow.server.fastapi_app import app

    return app


if __name__ == "__main__":
    main()
