"""What a project has to say of its runs, beside how their stages ended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dvc_airflow.run_page.runs import Run


@dataclass(frozen=True)
class Link:
    """A link. ``url`` is empty where there is no page: then the text alone is shown."""

    text: str
    url: str

    @property
    def leads(self) -> bool:
        """Whether it leads to a page: other kinds of addresses could run something."""
        return self.url.startswith(("http://", "https://"))


@dataclass(frozen=True)
class Mark:
    """A word about a run, such as ``champion``."""

    text: str
    kind: Literal["good", "bad", "plain"] = "plain"
    title: str = ""


@dataclass(frozen=True)
class Details:
    """Of one run; all empty where nothing is known.

    ``compared`` has what may differ between two runs, by section and name; a section replaces that of the stages.
    ``stored`` says where the outputs of the stages are, by path.
    """

    compared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: the metric to plot, if nobody asks for another
    metric: str | None = None
    marks: Sequence[Mark] = ()
    #: what the metric is of, such as a model; the plot joins runs of the same
    series: str = ""
    #: whether its point in the plot stands out; the oldest such point of a series does
    highlighted: bool = False
    #: why the model did not become champion, say
    remark: str = ""
    #: the verdict on the model, aligned
    verdict: str = ""
    links: Sequence[Link] = ()
    stored: Mapping[str, Link] = field(default_factory=dict)


@dataclass(frozen=True)
class Described:
    """Of several runs, in their order; ``notes`` are said once."""

    runs: Sequence[Details]
    notes: Sequence[str] = ()


def _nothing(runs: "Sequence[Run]", shown: int) -> Described:
    return Described([Details() for _ in runs])


@dataclass(frozen=True)
class Project:
    """What a project adds to the pages.

    :param operators: names of operators beside `DvcStageOperator` whose results ``describe`` reads.
    :param describe: what there is to say of runs beside their stages. Its second argument is how many are shown, the
        first of them; with the others they are compared.
    """

    operators: Sequence[str] = ()
    describe: "Callable[[Sequence[Run], int], Described]" = _nothing
