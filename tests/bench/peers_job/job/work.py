"""The job that both systems do, in three steps; paths are relative to the working directory."""

import json
import os
import sys
from pathlib import Path

RAW, TRAIN, TEST = Path("data/raw.csv"), Path("data/train.csv"), Path("data/test.csv")
MODEL, METRICS = Path("models/model.pkl"), Path("reports/metrics.json")


def get_data():
    from sklearn.datasets import load_iris

    RAW.parent.mkdir(exist_ok=True)
    load_iris(as_frame=True).frame.to_csv(RAW, index=False)


def preprocess(test_size, random_state):
    import pandas as pd
    from sklearn.model_selection import train_test_split

    frame = pd.read_csv(RAW)
    parts = train_test_split(frame, test_size=test_size, random_state=random_state, stratify=frame["target"])
    for part, file in zip(parts, (TRAIN, TEST), strict=True):
        part.to_csv(file, index=False)


def train_and_evaluate(C, max_iter):  # noqa: N803 - scikit-learn's name
    import joblib
    import mlflow.sklearn
    import pandas as pd
    import sklearn
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score

    mlflow.set_tracking_uri(f"sqlite:///{os.environ['JOB_TRACKING']}")
    mlflow.set_experiment("iris")
    train, test = (pd.read_csv(file) for file in (TRAIN, TEST))
    with mlflow.start_run():
        model = LogisticRegression(C=C, max_iter=max_iter).fit(train.drop(columns="target"), train["target"])
        metrics = {}
        for name, frame in (("train", train), ("test", test)):
            predicted = model.predict(frame.drop(columns="target"))
            metrics[f"{name}_accuracy"] = float(accuracy_score(frame["target"], predicted))
            metrics[f"{name}_f1"] = float(f1_score(frame["target"], predicted, average="macro"))
        mlflow.log_params({"C": C, "max_iter": max_iter})
        mlflow.log_metrics(metrics)
        requirements = [f"scikit-learn=={sklearn.__version__}"]
        mlflow.sklearn.log_model(model, name="model", pip_requirements=requirements, registered_model_name="iris")
    for file in (MODEL, METRICS):
        file.parent.mkdir(exist_ok=True)
    joblib.dump(model, MODEL)
    METRICS.write_text(json.dumps(metrics, indent=2))


PARAMS = {
    "get_data": (),
    "preprocess": ("test_size", "random_state"),
    "train_and_evaluate": ("C", "max_iter"),
}

if __name__ == "__main__":
    step = sys.argv[1]
    values = json.loads(Path("params.json").read_text())
    globals()[step](**{name: values[name] for name in PARAMS[step]})
