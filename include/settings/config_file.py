"""Reading, checking and overriding config/config.yaml."""

import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from include.errors import ConfigError
from include.models.settings import KINDS_BY_NAME
from include.settings import CONFIG_FILE, PROJECT_DIR, PipelineConfig
from include.settings.keys import as_given, explained, key_sections, known_keys, suggestion

# The DAG itself is made from these: they cannot differ from run to run.
FIXED_SECTIONS = ("paths", "schedule")
FIXED_KEYS = ("registry.approval",)
FORCE = "force"  # run every stage: of a run of the pipeline, no value of the configuration
NAMES_OF_FORCE = ("run_every_stage", "forced", "run_all", "all")  # elsewhere: the first is that of a DvcDag
# Sections by the DAG that they are for
SCORING = ("scoring",)
PIPELINE = tuple(section for section in PipelineConfig.model_fields if section not in SCORING)


def parse_yaml(text: str, where: str | Path) -> Any:
    """Parse YAML as DVC does (YAML 1.2, so that ``1e-4`` is a number for both).

    :raises ConfigError: the text is not YAML, or names a key twice.
    """
    try:
        return deepcopy(_parsed(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(where)
        raise ConfigError(f"{place}: not valid YAML: {error.problem or error.context}. Fix that line.") from None
    except YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from None


@lru_cache(maxsize=8)  # a task reads the file several times, and so did the process that it was forked from
def _parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def dump_yaml(document: Any) -> str:
    """Write plain dicts, lists and scalars as YAML, in the order they have."""
    return _dumped(json.dumps(document))


@lru_cache(maxsize=8)  # a task writes the same documents to several places
def _dumped(document: str) -> str:
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(json.loads(document), stream)
    return stream.getvalue()


def as_written(config: PipelineConfig) -> dict[str, Any]:
    """The configuration as a document, without defaults in sections within sections.

    DVC tracks such a block as a whole (``model.random_forest``): with a default that config.yaml does not have, a run
    would seem to have another value than the checkout.
    """
    document, given = config.model_dump(mode="json"), config.model_dump(mode="json", exclude_unset=True)
    for section, values in given.items():
        document[section] |= {name: value for name, value in values.items() if isinstance(value, dict)}
    return document


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
    if document is None:
        raise ConfigError(f"{CONFIG_FILE} is empty. Bring it back with: git checkout -- {CONFIG_FILE}")
    if not isinstance(document, dict):
        raise ConfigError(f"{CONFIG_FILE}: must be a mapping of sections, not {as_given(document)}.")
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
        raise ConfigError(explained(error, where)) from None


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
    document = read_config_document()
    if not overrides:
        return validate_config(document)
    merged = apply_overrides(document, overrides, where, sections)
    try:
        return PipelineConfig.model_validate(merged)
    except ValidationError as error:
        validate_config(document)  # what is wrong in the file itself is said to be
        raise ConfigError(explained(error, where)) from None


def apply_overrides(
    document: Mapping[str, Any], overrides: Mapping[str, Any], where: str, sections: Collection[str] = PIPELINE
) -> dict[str, Any]:
    """Lay the values of one run over the file's: ``{"split": {"test_size": 0.3}}`` or ``{"split.test_size": 0.3}``.

    A hyperparameter may be named without its kind: ``{"model.C": 2.5}`` is that of ``model.kind``.

    :param sections: those that the DAG uses.
    :raises ConfigError: a key that the configuration does not have (the nearest one is suggested), or with two values.
    """
    flat = list(_flatten(overrides, where))
    kind = dict(flat).get("model.kind", value_at(document, "model.kind"))
    merged = deepcopy(dict(document))
    found: dict[str, Any] = {}
    for given, value in flat:
        key = _with_kind(given, kind, where)
        if found.setdefault(key, value) != value:
            both = f"{as_given(found[key])} and {as_given(value)}"
            raise ConfigError(f"{where}: {key} has two values, {both}. Give it once.")
        if key not in known_keys():
            raise ConfigError(f"{where}: unknown key {given!r}{_nearest(given, _of_a_run(sections))}")
        if key.partition(".")[0] not in sections:
            raise ConfigError(f"{where}: {key} belongs to another DAG; this one uses: {', '.join(sections)}.")
        if is_fixed(key):
            raise ConfigError(
                f"{where}: {key} cannot change per run, because the DAG is built from it; change {CONFIG_FILE}."
            )
        if _is_of_another_kind(key, kind) and value != value_at(document, key, _default_of(key)):
            raise ConfigError(
                f"{where}: {key} is changed, but model.kind is {as_given(kind)}, so it would change nothing. Set "
                f"model.kind to {as_given(key.split('.')[1])} too, or leave it out."
            )
        _put(merged, key, value)
    return merged


def _with_kind(key: str, kind: Any, where: str) -> str:
    """``model.C`` as ``model.logistic_regression.C``, where that is the kind."""
    section, _, name = key.partition(".")
    if section != "model" or "." in name or f"model.{name}" in known_keys():
        return key
    kinds = [other for other, settings in KINDS_BY_NAME.items() if name in settings.model_fields]
    if kinds and isinstance(kind, str) and kind in KINDS_BY_NAME and kind not in kinds:
        raise ConfigError(
            f"{where}: model.{name} is a hyperparameter of {' and '.join(kinds)}, but model.kind is {kind!r}; it has: "
            f"{', '.join(KINDS_BY_NAME[kind].model_fields)}."
        )
    return f"model.{kind}.{name}" if kinds else key


def _is_of_another_kind(key: str, kind: Any) -> bool:
    section, _, rest = key.partition(".")
    return section == "model" and "." in rest and rest.partition(".")[0] != kind


def _default_of(key: str) -> Any:
    _, kind, name = key.split(".")
    return KINDS_BY_NAME[kind].model_fields[name].default


def value_at(document: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """The value that a document has at a whole key."""
    found: Any = document
    for name in key.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return default
        found = found[name]
    return found


def _put(document: dict[str, Any], key: str, value: Any) -> None:
    *names, last = key.split(".")
    for name in names:
        if not isinstance(document.get(name), dict):
            document[name] = {}
        document = document[name]
    document[last] = value


def is_fixed(key: str) -> bool:
    """Whether a value is the same for all runs."""
    return key.partition(".")[0] in FIXED_SECTIONS or key in FIXED_KEYS


def _flatten(overrides: Mapping[str, Any], where: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values with their whole keys: one may come twice, as ``model.C`` and as ``C`` below ``model``."""
    for name, value in overrides.items():
        key = f"{prefix}{name}"
        if key not in key_sections():
            yield key, value
        elif isinstance(value, Mapping):
            yield from _flatten(value, where, f"{key}.")
        else:
            raise ConfigError(f"{where}: {key} must be a mapping like {{'{key}': {{...}}}}.")


def _nearest(key: str, top: Collection[str]) -> str:
    plain = re.sub(r"[\s-]+", "_", key.strip().lower())  # the form shows it as "Run every stage"
    means_force = plain in NAMES_OF_FORCE or get_close_matches(plain, NAMES_OF_FORCE[:1], 1)
    return f" (did you mean {FORCE!r}?)." if FORCE in top and means_force else suggestion(key, top)


def _of_a_run(sections: Collection[str]) -> list[str]:
    """What may stand in the conf of a run, at the top."""
    return [*(one for one in sections if one not in FIXED_SECTIONS), *([FORCE] if "model" in sections else [])]
