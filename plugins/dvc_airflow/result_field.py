"""`ResultField`: one field of what a task returned, as an argument of an operator."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg

if TYPE_CHECKING:
    from airflow.sdk.types import Operator


class ResultOf:
    """What a task returned, pulled once by each task, however many of its fields are arguments of that.

    Airflow's own ``task.output["name"]`` takes an XCom per field, each of which is a request to push and to pull, and
    two to remove when the task is cleared.

    :param output: the task's ``output``.
    """

    def __init__(self, output: XComArg) -> None:
        self.output = output
        self._pulled: tuple[Any, Any] | None = None

    def __getitem__(self, name: str) -> "ResultField":
        return ResultField(self, name)

    def pull(self, context: Mapping[str, Any]) -> Any:
        """The result; None if there is none."""
        ti_id = context["ti"].id  # another one for each try
        if self._pulled is None or self._pulled[0] != ti_id:
            self._pulled = (ti_id, self.output.resolve(context))
        return self._pulled[1]


class ResultField(XComArg):
    """See `ResultOf`. None if the task returned nothing, or has no such field."""

    def __init__(self, result: ResultOf, name: str) -> None:
        self.result, self.name = result, name

    def iter_references(self) -> "Iterator[tuple[Operator, str]]":
        """The task, by which Airflow orders the tasks."""
        return self.result.output.iter_references()

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The field's value."""
        found = self.result.pull(context)
        return found.get(self.name) if isinstance(found, Mapping) else None

    def __repr__(self) -> str:
        return f"{self.result.output!r}[{self.name!r}]"
