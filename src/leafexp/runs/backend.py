"""TensorFlow, imported late and with the settings that results rely on."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from leafexp.environment import processors


def import_tensorflow() -> Any:
    """TensorFlow, imported with the settings that make it fast, silent and the same in every process; Keras too."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # They would end training early, and say nothing.
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
        os.environ.pop(name, None)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Operators side by side share oneDNN's threads by chance, and with them the order of sums: two runs of MobileNetV2
    # then differ from the sixth digit on (TensorFlow 2.21). One after the other they are bit-identical, and no slower.
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    # TensorFlow sees affinity, and not what a container's limit leaves.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(processors()))
    # TensorFlow leaves oneDNN off on processors without AVX-512. On, MobileNetV2 learns 1.5 times faster there, and an
    # image's features do not depend on the size of its batch, which the cached prefix relies on.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _silent_libraries():
        import keras
        import tensorflow as tf
    # ~/.keras/keras.json may say otherwise, as another project left it: other networks and figures.
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    return tf


@contextlib.contextmanager
def _silent_libraries() -> Iterator[None]:
    """Discard what compiled code writes to stderr: TensorFlow's remarks on GPUs and oneDNN, as no setting does."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
