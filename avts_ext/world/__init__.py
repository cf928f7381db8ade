"""A generated world of videos whose sounds, objects and event times are known exactly."""

from avts_ext.world.generate import generate
from avts_ext.world.scene import CLASSES, ClassSpec, SceneKind
from avts_ext.world.truth import WorldTruth, load_truth

__all__ = ["CLASSES", "ClassSpec", "SceneKind", "WorldTruth", "generate", "load_truth"]
