"""The files that the settings are read from."""

from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[2]
# Relative to the project
CONFIG_FILE = Path("config/config.yaml")
ENV_FILE = Path("config/.env")
