"""``model.kind: logistic_regression``."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from include.models.settings import ModelSettings
from include.section import Seed

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


class LogisticRegressionSettings(ModelSettings):
    """Hyperparameters of scikit-learn's LogisticRegression, under its own names."""

    standardised: ClassVar[bool] = True

    C: float = Field(1.0, gt=0, le=1e12, description="Inverse of the regularisation strength")
    solver: Literal["lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"] = Field(
        "lbfgs", description="Optimisation algorithm; liblinear supports two classes only"
    )
    tol: float = Field(1e-4, gt=0, le=1, description="Tolerance at which the solver stops")
    max_iter: int = Field(200, ge=1, le=1_000_000, description="Upper limit of iterations")
    fit_intercept: bool = Field(True, description="Whether to fit an intercept")
    class_weight: Literal["balanced"] | None = Field(
        None, description="balanced: weight classes by their inverse frequency"
    )
    random_state: Seed = 42

    def estimator(self) -> "LogisticRegression":
        """The unfitted classifier."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(**self.model_dump())
