"""An object: content by its hash. What outputs consist of."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from dvc_airflow.errors import TaskError


@dataclass(frozen=True)
class Object:
    """One object. ``name`` is for people; ``remote`` is the output's own remote, None for the default one."""

    algorithm: str
    oid: str
    name: str = field(compare=False)
    size: int | None = field(compare=False)
    remote: str | None = None

    @property
    def hash(self) -> str:
        """Of its content; the id of a folder's list has an ending as well."""
        return self.oid.partition(".")[0]


class MissingObjectsError(TaskError):
    """Objects that neither the cache nor the remote has whole.

    ``objects`` says which, ``producer`` which stage makes them (None: no stage does), see `attributed_to` in
    `dvc_airflow.dvc.outputs`.
    """

    producer: str | None = None

    def __init__(self, objects: Iterable[Object]) -> None:
        self.objects = list(objects)
        names = ", ".join(one.name for one in self.objects[:10])
        more = f" and {len(self.objects) - 10} more" if len(self.objects) > 10 else ""
        super().__init__(f"{names}{more}: missing from the cache and the store, or corrupted there")
