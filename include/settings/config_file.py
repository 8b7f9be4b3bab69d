"""Reading, checking and overriding config/config.yaml."""

import io
from collections.abc import Collection, Mapping
from datetime import date
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from include.errors import ConfigError
from include.settings import CONFIG_FILE, PROJECT_DIR, PipelineConfig

# The DAG itself is made from these: they cannot differ from run to run.
FIXED_SECTIONS = ("paths", "schedule")
FIXED_KEYS = ("registry.approval",)
# Sections by the DAG that they are for
SCORING = ("scoring",)
PIPELINE = tuple(section for section in PipelineConfig.model_fields if section not in SCORING)


def parse_yaml(text: str, where: str | Path) -> Any:
    """Parse YAML as DVC does (YAML 1.2, so that ``1e-4`` is a number for both).

    :raises ConfigError: the text is not YAML, or names a key twice.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(where)
        raise ConfigError(f"{place}: not valid YAML: {error.problem or error.context}. Fix that line.") from None
    except YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from None


def dump_yaml(document: Any) -> str:
    """Write plain dicts, lists and scalars as YAML, in the order they have."""
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(document, stream)
    return stream.getvalue()


def read_config_document(project_dir: Path = PROJECT_DIR) -> dict[str, Any]:
    """Read config/config.yaml as it stands, unchecked.

    :raises ConfigError: the file is missing, unreadable, no YAML or no mapping.
    """
    try:
        text = (project_dir / CONFIG_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{CONFIG_FILE} is missing in {project_dir}. Bring it back with: git checkout -- {CONFIG_FILE}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{CONFIG_FILE} cannot be read: {error}") from None
    document = parse_yaml(text, CONFIG_FILE)
    if not isinstance(document, dict):
        raise ConfigError(f"{CONFIG_FILE}: must be a mapping of sections, not {type(document).__name__}.")
    _refuse_dates(document)
    return document


def _refuse_dates(document: Mapping[str, Any], prefix: str = "") -> None:
    """DVC's templating stops at a YAML date; say so here, with the key, before DVC does in its own words."""
    for name, value in document.items():
        if isinstance(value, dict):
            _refuse_dates(value, f"{prefix}{name}.")
        elif isinstance(value, date):
            raise ConfigError(f'{CONFIG_FILE}: {prefix}{name}: put the date in quotes: "{value}".')


def validate_config(document: Mapping[str, Any], where: str | Path = CONFIG_FILE) -> PipelineConfig:
    """Check a whole configuration.

    :raises ConfigError: names each wrong key, what is wrong with it and what it may be.
    """
    try:
        return PipelineConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_explain(error, PipelineConfig, where)) from None


def load_config(project_dir: Path = PROJECT_DIR) -> PipelineConfig:
    """Read and check config/config.yaml.

    :raises ConfigError: see `read_config_document` and `validate_config`.
    """
    return validate_config(read_config_document(project_dir))


def load_config_with(overrides: Mapping[str, Any], where: str, sections: Collection[str] = PIPELINE) -> PipelineConfig:
    """config/config.yaml with the values of one run laid over it, checked.

    :param where: the values come from, for messages.
    :raises ConfigError: see `apply_overrides` and `validate_config`.
    """
    document = apply_overrides(read_config_document(), overrides, where, sections)
    return validate_config(document, f"{CONFIG_FILE} with {where}" if overrides else CONFIG_FILE)


def apply_overrides(
    document: Mapping[str, Any], overrides: Mapping[str, Any], where: str, sections: Collection[str] = PIPELINE
) -> dict[str, Any]:
    """Lay the values of one run over the file's: ``{"model": {"C": 2.5}}`` or ``{"model.C": 2.5}``.

    :param sections: those that the DAG uses.
    :raises ConfigError: a key that the configuration does not have; the nearest one is suggested.
    """
    merged = {section: dict(values) if isinstance(values, dict) else values for section, values in document.items()}
    for key, value in _flatten(overrides, where):
        section, _, name = key.partition(".")
        if key not in _known_keys():
            raise ConfigError(f"{where}: unknown key {key!r}{_suggest(key, _known_keys())}.")
        if section not in sections:
            raise ConfigError(f"{where}: {key} belongs to another DAG; this one uses: {', '.join(sections)}.")
        if is_fixed(key):
            raise ConfigError(
                f"{where}: {key} cannot change per run, because the DAG is built from it; change {CONFIG_FILE}."
            )
        merged.setdefault(section, {})[name] = value
    return merged


def is_fixed(key: str) -> bool:
    """Whether a value is the same for all runs."""
    return key.partition(".")[0] in FIXED_SECTIONS or key in FIXED_KEYS


def _flatten(overrides: Mapping[str, Any], where: str) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in overrides.items():
        if key in PipelineConfig.model_fields:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: {key} must be a mapping like {{'{key}': {{...}}}}.")
            flat += [(f"{key}.{name}", inner) for name, inner in value.items()]
        else:
            flat.append((str(key), value))
    return flat


@cache
def _known_keys() -> frozenset[str]:
    return frozenset(
        f"{section}.{name}"
        for section, field in PipelineConfig.model_fields.items()
        for name in field.annotation.model_fields  # type: ignore[union-attr]
    )


def _suggest(key: str, known: frozenset[str]) -> str:
    near = get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; valid keys: {', '.join(sorted(known))}"


def _explain(error: ValidationError, model: type[BaseModel], where: str | Path) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        key = ".".join(map(str, problem["loc"])) or "(whole file)"
        if problem["type"] == "extra_forbidden":
            known = _known_keys() if "." in key else frozenset(model.model_fields)
            lines.append(f"{key}: unknown key{_suggest(key, known)}")
        elif problem["type"] == "missing":
            lines.append(f"{key}: is missing")
        else:
            got = repr(problem["input"])
            lines.append(f"{key}: {problem['msg']} (got {got if len(got) <= 80 else got[:77] + '...'})")
    return f"{where}: " + "; ".join(lines) + ". Fix it there."
