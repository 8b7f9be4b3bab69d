"""The columns that a model gets later: the same numbers and categories as in its training, whatever the file."""

import numpy as np
import pandas as pd
import pytest

from include.errors import DataError
from include.models.inputs import inputs_of
from include.stages.files import csv_of
from include.stages.score import score
from tests.support.tables import csv, mixed, parquet, plain
from tests.support.trained import train


def gappy() -> pd.DataFrame:
    """A town that is missing mostly where the class is blue, and a grade that is a name."""
    frame = plain()
    towns = np.where(frame["target"] == "blue", None, np.array(mixed(["Ulm", "Rom"]), dtype=object))
    return frame.assign(town=towns, grade=mixed([1, 2, 3]), member=mixed([True, False]))


@pytest.mark.parametrize("kind", ["logistic_regression", "random_forest", "hist_gradient_boosting"])
def test_test_rows_are_the_same_inputs_when_they_come_back_from_the_store(tmp_path, kind):
    (tmp_path / "t.parquet").write_bytes(parquet(gappy()))
    trained = train(tmp_path / "t.parquet", **{"data.categorical": ["town", "grade"], "model.kind": kind})
    features, target = trained.parts()

    again = inputs_of(trained.pipeline, features, "the test rows")

    assert score(trained.pipeline, again, target) == trained.scores
    assert trained.pipeline.predict_proba(again).tolist() == trained.pipeline.predict_proba(features).tolist()


@pytest.mark.parametrize("grade", [[1, 2, 3], [1.0, 2.0, 3.0], ["1", "2", "3"], ["1.0", "2.0", "3.00"]])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_number_that_is_a_category_is_known_however_it_is_written(tmp_path, name, grade):
    content = csv(gappy()).encode() if name.endswith("csv") else parquet(gappy())
    (tmp_path / name).write_bytes(content)
    trained = train(tmp_path / name, **{"data.categorical": ["town", "grade", "member"]})
    batch = gappy().assign(grade=mixed(grade), member=mixed(["true", "false"]))

    found = inputs_of(trained.pipeline, batch, "the batch")

    assert set(found["grade"]) == {"1", "2", "3"}
    assert set(found["member"]) == {"True", "False"}


def test_an_unseen_category_and_a_gap_are_not_the_same(tmp_path):
    (tmp_path / "t.parquet").write_bytes(parquet(gappy()))
    trained = train(tmp_path / "t.parquet")
    batch = gappy().head(2).assign(town=[None, "Paris"])

    first, second = trained.pipeline.predict_proba(inputs_of(trained.pipeline, batch.iloc[[0, 0]], "b"))
    unseen = trained.pipeline.predict_proba(inputs_of(trained.pipeline, batch.iloc[[1]], "b"))

    assert first.tolist() == second.tolist() != unseen[0].tolist()


def test_missing_columns_are_named_with_a_bound(tmp_path):
    frame = plain().assign(**{f"extra_{n}": np.linspace(0, n + 1, len(plain())) for n in range(40)})
    (tmp_path / "t.parquet").write_bytes(parquet(frame))

    with pytest.raises(
        DataError, match=r"the batch lacks columns that the model needs: 'extra_0', .* and 32 more\. It has"
    ) as e:
        inputs_of(train(tmp_path / "t.parquet").pipeline, plain(), "the batch")
    assert len(str(e.value)) < 500


def test_a_carriage_return_in_a_cell_survives(tmp_path):
    (tmp_path / "t.csv").write_bytes(csv_of(pd.DataFrame({"a": ["x\ry", "z"], "b": [1, 2]})))

    assert pd.read_csv(tmp_path / "t.csv")["a"].tolist() == ["x\ry", "z"]
