"""The settings: `PipelineConfig` is all of config/config.yaml, `RuntimeSettings` the environment and config/.env.

What changes a result is in the first, what differs from place to place in the second. Nothing is read at import.
"""

from include.settings.own_services import how_to_start
from include.settings.pipeline import DataConfig, PipelineConfig, ScheduleConfig, SplitConfig
from include.settings.places import CONFIG_FILE, ENV_FILE, PROJECT_DIR
from include.settings.registry import LOWER_IS_BETTER, RegistryConfig, SliceConfig
from include.settings.runtime import RuntimeSettings, load_runtime_settings

__all__ = [
    "CONFIG_FILE",
    "ENV_FILE",
    "LOWER_IS_BETTER",
    "PROJECT_DIR",
    "DataConfig",
    "PipelineConfig",
    "RegistryConfig",
    "RuntimeSettings",
    "ScheduleConfig",
    "SliceConfig",
    "SplitConfig",
    "how_to_start",
    "load_runtime_settings",
]
