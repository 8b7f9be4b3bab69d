"""What a kind of model is: its hyperparameters, checked, and the scikit-learn estimator that they make."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, create_model, model_validator

from include.section import Section

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

KINDS = Path(__file__).with_name("kinds")


class ModelSettings(Section):
    """Base of the kinds of model. Its fields are the hyperparameters; each has a default.

    A kind is a class of its own in a module of `include/models/kinds`; the module's name is its name. How the columns
    reach the estimator is said by three values of the class.
    """

    #: whether numeric features are standardised (mean 0, standard deviation 1 on the training rows)
    standardised: ClassVar[bool] = False
    #: whether the estimator takes missing numbers itself; else they are replaced by the median
    takes_gaps: ClassVar[bool] = False
    #: whether it takes a sparse matrix, as many categories give one
    takes_sparse: ClassVar[bool] = True

    def estimator(self) -> "ClassifierMixin":
        """The unfitted classifier, with `predict_proba`. Import scikit-learn here: DAG files import this module."""
        raise NotImplementedError


def _kinds() -> dict[str, type[ModelSettings]]:
    """The class of each module in `kinds/`, by the module's name."""
    found = {}
    for file in sorted(KINDS.glob("*.py")):
        if file.stem != "__init__" and not file.name.startswith("."):  # as an editor's lock
            module = import_module(f"include.models.kinds.{file.stem}")
            (found[file.stem],) = [
                value
                for value in vars(module).values()
                if isinstance(value, type) and issubclass(value, ModelSettings) and value.__module__ == module.__name__
            ]
    return found


class _Model(Section):
    """Which kind of model is trained, and the hyperparameters of each kind, under its name."""

    kind: str

    @property
    def settings(self) -> ModelSettings:
        """The hyperparameters of the kind that is trained."""
        settings: ModelSettings = getattr(self, self.kind)
        return settings

    @model_validator(mode="before")
    @classmethod
    def _has_the_block_of_its_kind(cls, values: Any) -> Any:
        """DVC tracks that block (dvc.yaml), so it has to be there, even if it is empty."""
        kind = values.get("kind") if isinstance(values, dict) else None
        if isinstance(kind, str) and kind in KINDS_BY_NAME and kind not in values:
            raise ValueError(f"has no block {kind!r}, the hyperparameters of model.kind; add it: `{kind}: {{}}`")
        return values


KINDS_BY_NAME = _kinds()

if TYPE_CHECKING:
    ModelConfig = _Model
else:
    ModelConfig = create_model(
        "ModelConfig",
        __base__=_Model,
        __doc__=_Model.__doc__,
        kind=(
            Literal[tuple(KINDS_BY_NAME)],
            Field(description="Kind of model, one of those below"),
        ),
        **{name: (kind, kind()) for name, kind in KINDS_BY_NAME.items()},
    )
