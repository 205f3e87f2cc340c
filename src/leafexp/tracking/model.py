"""A run's best model in MLflow's keras flavour."""

import importlib.metadata
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from leafexp import names

if TYPE_CHECKING:
    import keras


def log_model(
    run: Run, model: "keras.Model", example: np.ndarray, probabilities: np.ndarray, classes: list[str]
) -> None:
    """Log the model to the run, its classes as metadata; `example` pixels give `probabilities`."""
    # With the requirements given, MLflow need not find them out by loading the model in a process of its own.
    requirements = [f"{name}=={importlib.metadata.version(name)}" for name in ("keras", "tensorflow", "numpy")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Made here, as Model.log would take the experiment from whatever is active in this process.
        logged = MlflowClient().create_logged_model(
            run.info.experiment_id, names.MODEL_NAME, run.info.run_id, params=run.data.params
        )
        Model.log(
            None,
            # mlflow.keras.log_model, but for a folder that save_model expects and does not make (mlflow#16183).
            SimpleNamespace(__name__="mlflow.keras", save_model=_save_model),
            name=names.MODEL_NAME,
            run_id=run.info.run_id,
            model_id=logged.model_id,
            # Without the optimizer: a third of the size, and it loads where leafexp is not installed.
            model=type(model)(model.inputs, model.outputs),
            signature=mlflow.models.infer_signature(example, probabilities),
            input_example=example,
            pip_requirements=requirements,
            metadata={"classes": classes},
            # Else the model is loaded again and run on its example: 6 s.
            validate_serving_input=False,
        )


def _save_model(path: str, validate_serving_input: bool, **arguments: Any) -> None:  # noqa: ARG001
    Path(path).mkdir(parents=True, exist_ok=True)
    mlflow.keras.save_model(path=path, **arguments)
