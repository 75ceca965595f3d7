"""The settings that determine a training run; `training.distill` has a flag for each."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class StudentConfig:
    """The network that is trained.

    Attributes:
      depth_multiplier: The factor of all its depths.
      image_size: The side of its input, in pixels.
    """

    depth_multiplier: float = 0.5
    image_size: int = 96


@dataclasses.dataclass(frozen=True, slots=True)
class DataConfig:
    """The images that the student sees, and their order.

    Attributes:
      teacher: The handle of the module that teaches; "" for the network of `training.teacher`.
      teacher_size: The side of that network's input, in pixels.
      views: The number of crops of each image that the teacher has seen.
      held_out: The number of images of each class that are kept for measuring.
      batch: The number of images in a step.
      seed: The seed of crops, order and flips.
    """

    teacher: str = ""
    teacher_size: int = 160
    views: int = 6
    held_out: int = 10
    batch: int = 128
    seed: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """The course of the training.

    Attributes:
      epochs: The number of passes over the images.
      learning_rate: The peak of the rate, after one epoch's linear warm-up; a cosine leads to 0.
      weight_decay: The decoupled decay, on full kernels only.
      average: The decay of the moving average of the weights, which is what is kept.
    """

    epochs: int = 20
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    average: float = 0.999


@dataclasses.dataclass(frozen=True, slots=True)
class LossConfig:
    """The weights of the losses, beside that on features, whose weight is 1.

    Attributes:
      values: "direct" if the student's features are to be the teacher's, channel by channel;
        "mapped" if a linear map of them is, which learns along and is thrown away, so that the
        student may keep the features that it has.
      relation_weight: The weight of the loss on similarities within a batch.
      label_weight: The weight of the loss on labels.
    """

    values: Literal["direct", "mapped"] = "direct"
    relation_weight: float = 1.0
    label_weight: float = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class DistillConfig:
    """The settings of a training run.

    Attributes:
      student: The network that is trained.
      data: The images that the student sees, and their order.
      optimizer: The course of the training.
      loss: The weights of the losses.
    """

    student: StudentConfig = StudentConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
