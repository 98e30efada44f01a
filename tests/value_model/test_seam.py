"""The seam is tried in processes of its own: TensorFlow chooses its Keras once."""

from __future__ import annotations

import os
import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    return subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=False)


def test_the_seam_gives_keras_2_and_a_working_tensorflow_ranking() -> None:
    code = """
from features.keras2 import keras, tensorflow, tensorflow_ranking, tensorflow_recommenders
assert issubclass(tensorflow_recommenders().Model, keras.Model)
loss = tensorflow_ranking().keras.losses.get("softmax_loss")
print(round(float(loss([[1.0, 0.0]], [[0.0, 0.0]])), 3))
"""
    done = run(code)
    assert done.stdout.strip() == "0.693", done.stderr[-1000:]


def test_tensorflow_imported_first_is_refused_with_the_fix() -> None:
    # That a module of this name is there is all that the seam can see, and all that it looks at.
    done = run("import sys, types\nsys.modules['tensorflow'] = types.ModuleType('tensorflow')\nimport features.keras2")
    assert done.returncode != 0
    assert "Import features.keras2 first, or set TF_USE_LEGACY_KERAS=1" in done.stderr
