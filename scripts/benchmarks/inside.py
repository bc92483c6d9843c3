"""Parts of the program in isolation, in memory, compared with River and scikit-learn."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from common import (
    Measurements,
    Task,
    compare,
    median,
    ratio_to,
    section,
    time_call,
)
from forms import PIXELS, load_digits
from sklearn.linear_model import SGDClassifier

from stream_perceptron import SGDPerceptron


@section("in_process")
def in_process() -> str:
    """A pass over 60,000 digits in memory: test_then_train, learn_many and partial_fit."""
    pixels, labels = load_digits()
    X, y = pixels / 255, np.array(labels)
    frame, series = pd.DataFrame(X, columns=PIXELS), pd.Series(y)

    def time_ours(call: str, *data: Any) -> Any:
        return time_call(getattr(SGDPerceptron(classes=range(10), seed=0), call), *data)

    def sklearn() -> float:
        model = SGDClassifier(loss="log_loss", random_state=0)
        return time_call(model.partial_fit, X, y, range(10))[0]

    def accuracy(taken: Measurements) -> str:
        tested = taken.result is not None
        return f"{np.mean(np.array(taken.result) == y):.1%}" if tested else "does not test"

    tasks: dict[Any, Task] = {
        "test_then_train": partial(time_ours, "test_then_train", X, labels),
        "learn_many, pandas": partial(time_ours, "learn_many", frame, series),
        "SGDClassifier.partial_fit": sklearn,
    }
    header = ["in memory", "seconds", "ratio to test_then_train", "progressive accuracy"]
    return compare(header, 5, tasks, median(), ratio_to("test_then_train", ".1f"), accuracy)
