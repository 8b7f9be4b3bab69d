"""The examples: their names, their stages, and what they make."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A folder of examples/; ``stages`` as DVC names them; ``result`` is a file that a run makes."""

    name: str
    stages: tuple[str, ...]
    result: str


EXAMPLES = (
    Example("first", ("prepare", "train"), "metrics.json"),
    Example("foreach", ("train@north", "train@south", "train@west", "best"), "best.json"),
    Example("monorepo", ("clean/dvc.yaml:clean", "report/dvc.yaml:report"), "report/best_customers.json"),
    Example("transfers", ("download", "count", "upload"), "report.json"),
    Example("gpu", ("prepare", "train"), "loss.json"),
)
