"""One module on each of several devices: TensorFlow's logical ones, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys, threading
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from image_features.models.devices import ModulePerDevice, find_gpus
from image_features.models.module import FeatureModule

assert find_gpus(mixed_precision=True) == []
names = [device.name for device in tf.config.list_logical_devices("CPU")]
assert len(names) == 2, names
loaded = []

def load(device):
    module = FeatureModule.load(sys.argv[1], batch_size=4, device=device)
    loaded.append(module)
    return module

model = ModulePerDevice(load, names)
assert model.parallelism == 4
pixels = np.random.RandomState(0).randint(0, 256, (12, 96, 96, 3)).astype(np.uint8)
expected = loaded[0](pixels)
for module, name in zip(loaded, names):
    seen = []
    infer, module._infer = module._infer, lambda batch: seen.append(infer(batch)) or seen[-1]
    np.testing.assert_array_equal(module(pixels), expected)
    assert {result.device.split("/device:")[-1] for result in seen} == {name.split("/device:")[-1]}
    module._infer = infer
results = [None] * 8

def run(i):
    results[i] = model(pixels)

threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
for result in results:
    np.testing.assert_array_equal(result, expected)
print("fine")
"""


def test_batches_are_spread_over_devices_and_stay_right(tf1_dir: str) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, tf1_dir], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "fine"
