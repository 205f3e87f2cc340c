"""TensorFlow, imported late and with the settings that results rely on."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from leafexp.environment import processors


def import_tensorflow() -> Any:
    """TensorFlow, imported with the settings that make it fast, silent and the same in every process."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
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
        import tensorflow as tf
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
