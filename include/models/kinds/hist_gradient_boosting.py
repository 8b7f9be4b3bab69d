"""``model.kind: hist_gradient_boosting``."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from include.models.settings import ModelSettings
from include.section import Seed

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier


class HistGradientBoostingSettings(ModelSettings):
    """Hyperparameters of scikit-learn's HistGradientBoostingClassifier, under its own names."""

    takes_gaps: ClassVar[bool] = True
    takes_sparse: ClassVar[bool] = False

    learning_rate: float = Field(0.1, gt=0, le=10, description="Weight of each tree")
    max_iter: int = Field(100, ge=1, le=100_000, description="Number of iterations, with one tree per class in each")
    max_leaf_nodes: int | None = Field(31, ge=2, le=100_000, description="Greatest number of leaves; null: no limit")
    max_depth: int | None = Field(None, ge=1, le=1000, description="Greatest depth of a tree; null: no limit")
    min_samples_leaf: int = Field(20, ge=1, le=1_000_000, description="Least number of rows in a leaf")
    l2_regularization: float = Field(0.0, ge=0, description="Strength of the L2 regularisation; 0: none")
    class_weight: Literal["balanced"] | None = Field(
        None, description="balanced: weight classes by their inverse frequency"
    )
    random_state: Seed = 42

    def estimator(self) -> "HistGradientBoostingClassifier":
        """The unfitted classifier."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(**self.model_dump())
