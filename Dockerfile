# One image for Airflow and MLflow. A first version: see docs/containers.md.
FROM python:3.12-slim-bookworm AS build
COPY requirements.txt /tmp/requirements.txt
RUN python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir "$(grep -E '^uv==' /tmp/requirements.txt)" \
    && UV_COMPILE_BYTECODE=1 /venv/bin/uv pip sync --no-cache --python /venv/bin/python /tmp/requirements.txt

FROM python:3.12-slim-bookworm
ARG GIT_SHA=unknown
LABEL org.opencontainers.image.revision=$GIT_SHA
RUN useradd --uid 50000 --gid 0 --create-home --home-dir /opt/airflow airflow \
    && mkdir -p /mlflow && chown 50000:0 /mlflow && chmod g+rwX /mlflow /opt/airflow
COPY --from=build /venv /venv
COPY --chown=50000:0 . /opt/project
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/opt/project \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/project/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/project/plugins \
    GIT_SHA=$GIT_SHA
WORKDIR /opt/project
USER 50000:0
