"""One row of the study as a notebook would train it: Keras's guides put together, Keras's and TensorFlow's defaults.

python benchmarks/notebook.py ROW FOLDER EPOCHS OUTPUT, with train/, validation/ and test/ in FOLDER.

MobileNetV2 has random weights here, which cost the same time; its batch norm learns where its layer does.
"""

import json
import sys
import time

import keras
import tensorflow as tf

SIZE, BATCH = 128, 32


def photos(folder: str, part: str) -> tf.data.Dataset:
    """Batches of decoded photos, decoded anew in each epoch."""
    return keras.utils.image_dataset_from_directory(
        f"{folder}/{part}", image_size=(SIZE, SIZE), batch_size=BATCH, shuffle=part == "train", seed=0, verbose=False
    )


def simple_cnn(classes: int) -> keras.Model:
    """The study's CNN."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(128, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )


def mobilenet(row: str, classes: int) -> keras.Model:
    """MobileNetV2 under a dense head, frozen, unfrozen, or with its last 20 layers unfrozen."""
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
    base.trainable = row != "mnv2_frozen"
    if row == "mnv2_partial":
        for layer in base.layers[:-20]:
            layer.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    outputs = keras.applications.mobilenet_v2.preprocess_input(inputs)
    outputs = keras.layers.GlobalAveragePooling2D()(base(outputs))
    outputs = keras.layers.Dense(128, activation="relu")(outputs)
    outputs = keras.layers.Dropout(0.2)(outputs)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(outputs))


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Start the clock."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self.started)


def main(row: str, folder: str, epochs: str, output: str) -> None:
    """Train, test and save one row."""
    train, validation, test = (photos(folder, part) for part in ("train", "validation", "test"))
    classes = len(train.class_names)
    model = simple_cnn(classes) if row == "simple_cnn" else mobilenet(row, classes)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    clock = Clock()
    model.fit(
        train.prefetch(tf.data.AUTOTUNE),
        validation_data=validation.prefetch(tf.data.AUTOTUNE),
        epochs=int(epochs),
        callbacks=[clock],
        verbose=2,
    )
    model.evaluate(test.prefetch(tf.data.AUTOTUNE), verbose=2)
    model.save(f"{output}.keras")
    with open(output, "w") as file:
        json.dump(clock.seconds, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
