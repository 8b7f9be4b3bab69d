"""The wheel of dvc_airflow as its users get it: installed with stock Airflow into clean environments.

``python -m tests.wheel`` makes the environments outside the checkout, without a plugins folder, and runs there what
`tests.wheel.checks` has.
"""
