"""What Airflow itself calls of this package, where it is installed as a wheel."""

from airflow.plugins_manager import AirflowPlugin

from dvc_airflow.pools import PoolListener
from dvc_airflow.run_page import RunPage, views


class DvcAirflowPlugin(AirflowPlugin):
    """Registers the tabs on DAGs and runs, and the listener that fails a run whose pool does not exist."""

    name = "dvc_airflow"
    external_views = views()
    fastapi_apps = [RunPage().app()]  # noqa: RUF012 - as Airflow declares it
    listeners = [PoolListener()]  # noqa: RUF012 - as Airflow declares it
