"""What all sections of config/config.yaml have in common, and the types of their values."""

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base of the sections: no unknown key, no conversion of values."""

    # Strict: a quoted number, or yes for a bool, is a slip of the pen that DVC would hash as something else.
    # Infinity and NaN are no JSON, and PostgreSQL, which keeps the results of tasks, takes none.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _inside_project(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or str(path) != value:
        raise ValueError("must be a plain relative path below the project's root, like data/raw/dataset.parquet")
    return value


def _single_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain control characters or line breaks")
    return value


RelativePath = Annotated[
    str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9._/-]+$"), AfterValidator(_inside_project)
]
Line = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_single_line)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, description="Seed of the random generator")]
