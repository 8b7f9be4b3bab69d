"""Celery's settings for Airflow's workers: the provider's own, and what tasks need is imported before the fork.

Named by ``AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS``.
"""

from typing import Any

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery.signals import worker_init

from ml_operators.preload import import_all

CELERY_CONFIG = DEFAULT_CELERY_CONFIG


def _import(**_: Any) -> None:
    import_all()


worker_init.connect(_import)
