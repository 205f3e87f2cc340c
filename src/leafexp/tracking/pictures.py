"""The pictures logged with a run."""

import base64
import io
import json

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay

from leafexp import names

WORST_PHOTOS = 16


def confusion_matrix(predictions: pd.DataFrame, classes: list[str], title: str) -> Figure:
    """Test photos by true and predicted class, as counts."""
    size = 3.5 + 0.55 * len(classes)
    figure = Figure(figsize=(size + 1.5, size), dpi=110, layout="constrained")
    axes = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(
        predictions["label"],
        predictions["predicted"],
        labels=classes,
        ax=axes,
        cmap="Blues",
        xticks_rotation=40,
        colorbar=False,
    )
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    axes.set(title=title, xlabel="predicted", ylabel="true")
    return figure


def curves(history: pd.DataFrame, best_epoch: int, title: str) -> Figure:
    """Accuracy and loss by epoch, the phases' borders and the best epoch marked."""
    figure = Figure(figsize=(10, 4), dpi=110, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, train, validation in zip(
        panels, (names.ACCURACY, names.LOSS), (names.VAL_ACCURACY, names.VAL_LOSS), strict=True
    ):
        axes.plot(history["epoch"], history[train], color="#0072B2", marker="o", markersize=3, label="training")
        axes.plot(history["epoch"], history[validation], color="#D55E00", marker="o", markersize=3, label="validation")
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"best epoch ({best_epoch})")
        for border in np.flatnonzero(history["phase"].ne(history["phase"].shift()))[1:]:
            axes.axvline(border + 0.5, color="0.8")
            axes.annotate(
                history["phase"].iloc[border], (border + 0.55, 0.02), xycoords=("data", "axes fraction"), color="0.5"
            )
        axes.set(xlabel="epoch", ylabel=train)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    figure.suptitle(title)
    return figure


def worst_photos(predictions: pd.DataFrame, classes: list[str], pixels: np.ndarray, rows: np.ndarray) -> str:
    """The test photos whose class got the lowest probability, the worst first, as JSON with JPEGs in base64.

    Args:
        predictions: a row a test photo.
        classes: class names.
        pixels: uint8, shape (images, height, width, 3).
        rows: where in `pixels` each row of `predictions` is.
    """
    probabilities = predictions[[f"probability_{name}" for name in classes]].to_numpy(float)
    places = pd.Categorical(predictions["label"], categories=classes).codes
    of_label = probabilities[np.arange(len(rows)), places]
    worst = np.argsort(of_label, kind="stable")[:WORST_PHOTOS]
    photos = []
    for place in worst:
        jpeg = io.BytesIO()
        Image.fromarray(np.array(pixels[rows[place]])).save(jpeg, "JPEG", quality=85)
        about = predictions.loc[place, ["path", "label", "predicted"]].to_dict()
        picture = base64.b64encode(jpeg.getvalue()).decode()
        photos.append({**about, "probability": float(of_label[place]), "jpeg": picture})
    return json.dumps(photos)
