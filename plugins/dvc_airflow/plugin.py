"""What Airflow itself calls of this package, where it is installed as a wheel."""

from airflow.plugins_manager import AirflowPlugin

from dvc_airflow.pools import PoolListener


class DvcAirflowPlugin(AirflowPlugin):
    """Registers the listener that fails a run whose pool does not exist."""

    name = "dvc_airflow"
    listeners = [PoolListener()]  # noqa: RUF012 - as Airflow declares it
