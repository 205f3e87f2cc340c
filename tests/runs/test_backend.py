"""What another project left in the user's home and shell changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

BUILD = """
from leafexp.runs.backend import import_tensorflow
import_tensorflow()
import keras
from leafexp.models.transfer import build
model, _ = build(32, 2, "mobilenet_v2.MobileNetV2", 8, 0.2, None)
config = keras.config
print(config.backend(), config.image_data_format(), config.floatx(), config.epsilon(), config.max_epochs(),
      config.max_steps_per_epoch(), model.count_params(), model.dtype)
"""
SETTINGS = {
    "none": None,
    "another": json.dumps(
        {"floatx": "float64", "epsilon": 0.01, "backend": "torch", "image_data_format": "channels_first"}
    ),
    "broken": '{"floatx": ',
}


@pytest.mark.slow
def test_keras_is_the_same_in_every_home(tmp_path: Path) -> None:
    found = set()
    for name, settings in SETTINGS.items():
        home = tmp_path / name
        (home / ".keras").mkdir(parents=True)
        if settings:
            (home / ".keras" / "keras.json").write_text(settings)
        environment = os.environ | {"HOME": str(home), "PYTHONPATH": str(CHECKOUT / "src"), "KERAS_BACKEND": "jax"}
        environment |= {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1", "TF_USE_LEGACY_KERAS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", BUILD], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert found == {"tensorflow channels_last float32 1e-07 None None 2268250 float32\n"}
