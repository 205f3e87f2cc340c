"""The one look at the test photos, and at those of a second test set."""

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, log_loss

from leafexp import names
from leafexp.data.batches import evaluation_batches
from leafexp.data.dataset import Dataset


def predict(model: keras.Model, dataset: Dataset, batch_size: int) -> pd.DataFrame:
    """One row a test image: path, label, group, predicted, and a probability per class (columns named by class).

    Probabilities are means over the dataset's `test_views`.
    """
    views = (evaluation_batches(dataset, "test", batch_size, view) for view in range(dataset.test_views))
    output = np.mean([model.predict(batches.map(lambda x, _: x), verbose=0) for batches in views], axis=0)
    table = dataset.table.loc[dataset.rows("test"), ["path", "label", "group"]].reset_index(drop=True)
    table["predicted"] = np.array(dataset.classes)[output.argmax(axis=1)]
    # A class may be named like one of the columns before it, so the probabilities' names carry a prefix.
    return table.join(pd.DataFrame(output, columns=[f"probability_{name}" for name in dataset.classes]))


def probabilities(predictions: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """The predicted probabilities, float32, shape (images, classes)."""
    return predictions[[f"probability_{name}" for name in classes]].to_numpy(np.float32)


def score(predictions: pd.DataFrame, classes: list[str]) -> dict[str, float]:
    """Test accuracy and macro F1 in [0, 1], and cross-entropy in nats."""
    output = probabilities(predictions, classes).astype(np.float64)
    return {
        names.TEST_ACCURACY: float((predictions["label"] == predictions["predicted"]).mean()),
        names.TEST_LOSS: float(
            log_loss(
                pd.Categorical(predictions["label"], categories=classes).codes,
                output / output.sum(axis=1, keepdims=True),
                labels=range(len(classes)),
            )
        ),
        names.TEST_MACRO_F1: float(
            f1_score(predictions["label"], predictions["predicted"], labels=classes, average="macro", zero_division=0)
        ),
    }


def score_external(predictions: pd.DataFrame) -> dict[str, float]:
    """Accuracy on the second test set, and macro F1 over the classes that are there, in [0, 1]."""
    label, predicted = predictions["label"], predictions["predicted"]
    there = sorted(label.unique())
    return {
        names.EXTERNAL_ACCURACY: float((label == predicted).mean()),
        names.EXTERNAL_MACRO_F1: float(f1_score(label, predicted, labels=there, average="macro", zero_division=0)),
    }


def milestones(history: pd.DataFrame) -> dict[str, int]:
    """The first epoch with at least 80, 90 and 95 % validation accuracy; without those not reached."""
    reached = {}
    for percent in names.MILESTONES:
        epochs = history.loc[history[names.VAL_ACCURACY] >= percent / 100, "epoch"]
        if len(epochs):
            reached[names.epochs_to(percent)] = int(epochs.iloc[0])
    return reached
