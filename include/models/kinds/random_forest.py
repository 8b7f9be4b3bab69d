"""``model.kind: random_forest``."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from include.models.settings import ModelSettings
from include.section import Seed

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier


class RandomForestSettings(ModelSettings):
    """Hyperparameters of scikit-learn's RandomForestClassifier, under its own names."""

    n_estimators: int = Field(200, ge=1, le=10_000, description="Number of trees")
    max_depth: int | None = Field(None, ge=1, le=1000, description="Greatest depth of a tree; null: no limit")
    min_samples_leaf: int = Field(1, ge=1, le=1_000_000, description="Least number of rows in a leaf")
    max_features: Literal["sqrt", "log2"] | None = Field(
        "sqrt", description="Features that a split may choose from; null: all"
    )
    class_weight: Literal["balanced", "balanced_subsample"] | None = Field(
        None, description="balanced: weight classes by their inverse frequency"
    )
    random_state: Seed = 42

    def estimator(self) -> "RandomForestClassifier":
        """The unfitted classifier."""
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**self.model_dump())
