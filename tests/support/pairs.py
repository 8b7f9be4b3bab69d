"""Pairs of models that were never trained: their answers to random rows, with a known difference."""

import numpy as np

from include.registry.paired import Answers, Pair, Rows

METRICS = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "roc_auc_ovr", "log_loss", "brier")


def drawn(random: np.random.Generator, rows: int, classes: int = 3, skills: tuple[float, float] = (2, 2)) -> Pair:
    """Answers of two models that err in part on the same rows; with the same skill they are equally good."""
    actual = random.permutation(np.arange(rows) % classes)
    common = random.normal(size=(rows, classes))
    models = []
    for skill in skills:
        own = random.normal(size=(rows, classes))
        scores = np.exp(skill * np.eye(classes)[actual] + 0.8**0.5 * common + 0.2**0.5 * own)
        models.append(Answers(scores.argmax(axis=1), scores / scores.sum(axis=1, keepdims=True)))
    return Pair(Rows(tuple(f"class {number}" for number in range(classes)), classes, actual), *models)


def labelled(actual: str, champion: str, challenger: str) -> Pair:
    """A pair of models that are certain of what they say; a letter is a class of a row."""
    classes = tuple(sorted({*actual, *champion, *challenger}, key=lambda name: (name not in actual, name)))
    known = len(set(actual))
    codes = [np.array([classes.index(name) for name in names]) for names in (actual, champion, challenger)]
    answers = [Answers(code, np.eye(max(known, len(classes)))[code][:, :known]) for code in codes[1:]]
    return Pair(Rows(classes, known, codes[0]), *answers)
