"""The section `registry` of config/config.yaml: the registered model, and the gate before its alias `champion`."""

from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field, field_validator, model_validator

from include.section import Line, Section

TestMetric = Literal[
    "test_accuracy",
    "test_precision_macro",
    "test_recall_macro",
    "test_f1_macro",
    "test_roc_auc_ovr",
    "test_log_loss",
    "test_brier",
]
LOWER_IS_BETTER = frozenset({"test_log_loss", "test_brier"})
METRICS_OF_ONE_CLASS = (None, "test_accuracy", "test_log_loss", "test_brier")  # accuracy is recall there
Evidence = Literal["not_shown_worse", "non_inferiority", "superiority"]

MOST_CONFIDENCE = 0.999  # beyond, the simulations of the gate would need too many samples

NOT_IN_MODEL_NAMES = "/:?@#"  # of which MLflow's parser makes something else in models:/NAME@champion or models:/NAME/1
KEY_PART = 255  # bytes: MinIO and file systems allow no more between two slashes of a key


def _usable_model_name(value: str) -> str:
    if found := [character for character in NOT_IN_MODEL_NAMES if character in value]:
        raise ValueError(f"must not contain {' '.join(found)}, or MLflow could not load models:/NAME@champion")
    if value.isspace() or value == "." or value.startswith(".."):
        raise ValueError("must not be blank, or '.', or begin with '..': MLflow refuses such a name")
    if (length := len(quote(value, safe=""))) > KEY_PART:
        raise ValueError(
            f"is too long: in keys of the object store it takes {length} bytes, and may take {KEY_PART} (one for a "
            "letter a-z or a digit, three to twelve for other characters)"
        )
    return value


class SliceConfig(Section):
    """What each group of test rows has to reach: the rows with one value of a column, or of one class."""

    column: Line = Field(description="Column of the test rows, or data.target: a group per value")
    metric: TestMetric | None = Field(None, description="Default: registry.metric; per class: recall")
    minimum: float | None = Field(None, ge=0, description="Minimum (maximum where lower is better)")
    tolerance: float | None = Field(None, ge=0, description="How much worse than the champion's it may be")
    min_rows: int = Field(10, ge=2, description="Groups of fewer test rows are named, and not judged")

    @model_validator(mode="after")
    def _something_to_judge(self) -> "SliceConfig":
        if self.minimum is None and self.tolerance is None:
            raise ValueError(f"column {self.column!r} has neither minimum nor tolerance: it would judge nothing")
        return self


class RegistryConfig(Section):
    """The model registry, and the gate before the alias `champion`."""

    model_name: Annotated[Line, AfterValidator(_usable_model_name)] = Field(
        description="Name of the registered model", json_schema_extra={"pattern": f"^[^{NOT_IN_MODEL_NAMES}]+$"}
    )
    metric: TestMetric = Field(description="Test metric that the gate compares")
    minimum: float = Field(ge=0, description="Minimum for a champion (maximum for metrics where lower is better)")
    confidence: float | None = Field(
        None,
        description="Confidence of what is shown on the test rows, such as 0.95; null: values are compared as they are",
        json_schema_extra={"exclusiveMinimum": 0.5, "maximum": MOST_CONFIDENCE},
    )
    evidence: Evidence = Field(
        "not_shown_worse", description="What a new champion needs, where registry.confidence is set"
    )
    min_gain: float = Field(0.0, ge=0, description="Required gain over the champion; 0: the newer model wins a tie")
    margin: float = Field(0.02, gt=0, description="How much worse it may be; for evidence: non_inferiority")
    tolerances: dict[TestMetric, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="Further metrics, and how much worse than the champion's each may be"
    )
    slices: list[SliceConfig] = Field(
        default_factory=list, max_length=20, description="Groups of test rows, and what each of them has to reach"
    )
    approval: Literal["auto", "manual"] = Field(
        "auto", description="manual: a person approves in the web UI before a model becomes champion"
    )

    @field_validator("confidence")
    @classmethod
    def _confidence_that_can_be_had(cls, value: float | None) -> float | None:
        if value is not None and not 0.5 < value <= MOST_CONFIDENCE:
            raise ValueError(
                f"must be above 0.5 and at most {MOST_CONFIDENCE}, such as 0.95 for 95 % (nothing is certain from a "
                "sample), or null: values are compared as they are"
            )
        return value

    @model_validator(mode="after")
    def _minimum_that_can_be_reached(self) -> "RegistryConfig":
        if self.metric not in LOWER_IS_BETTER and self.minimum > 1:
            raise ValueError(f"registry.minimum: {self.metric} is never above 1")
        return self

    @model_validator(mode="after")
    def _rules_that_fit(self) -> "RegistryConfig":
        if self.confidence is None and self.evidence != "not_shown_worse":
            raise ValueError(
                f"registry.evidence: {self.evidence} needs a registry.confidence, such as 0.95; it is null"
            )
        if self.confidence is not None and self.min_gain and self.evidence != "superiority":
            raise ValueError(
                f"registry.min_gain: a gain of {self.min_gain:g} has to be shown, but registry.evidence is "
                f"{self.evidence}; set it to superiority, or min_gain to 0, or registry.confidence to null"
            )
        return self

    def metric_of(self, one: SliceConfig, target: str) -> TestMetric:
        """What a slice is judged by. Recall, the default per class, is accuracy on the rows of one class."""
        return one.metric or ("test_accuracy" if one.column == target else self.metric)
