"""All that touches DVC, whose Python API below `Repo` is internal: tests/unit/test_dvc_contract.py holds on to it."""
