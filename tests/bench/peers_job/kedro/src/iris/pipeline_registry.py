"""The three steps as nodes. The files are the steps' own, so that the work is the same; nodes pass on their names."""

import work
from kedro.pipeline import Pipeline, node, pipeline


def get_data():
    work.get_data()
    return [str(work.RAW)]


def preprocess(raw, test_size, random_state):
    work.preprocess(test_size, random_state)
    return [str(work.TRAIN), str(work.TEST)]


def train_and_evaluate(tables, C, max_iter):  # noqa: N803 - scikit-learn's name
    work.train_and_evaluate(C, max_iter)
    return [str(work.METRICS)]


def register_pipelines() -> dict[str, Pipeline]:
    nodes = [
        node(get_data, None, "raw", name="get_data"),
        node(preprocess, ["raw", "params:test_size", "params:random_state"], "tables", name="preprocess"),
        node(train_and_evaluate, ["tables", "params:C", "params:max_iter"], "report", name="train_and_evaluate"),
    ]
    return {"__default__": pipeline(nodes)}
