"""Pictures of the parts of a fitted model, with matplotlib."""

from skrelu.inspection._effect_display import FeatureEffectDisplay
from skrelu.inspection._effects import FeatureEffect
from skrelu.inspection._interaction_display import FeatureInteractionDisplay
from skrelu.inspection._interactions import FeatureInteraction
from skrelu.inspection._loss_curves import LossCurveDisplay
from skrelu.inspection._subnetworks import SubnetworkDisplay

__all__ = [
    "FeatureEffect",
    "FeatureEffectDisplay",
    "FeatureInteraction",
    "FeatureInteractionDisplay",
    "LossCurveDisplay",
    "SubnetworkDisplay",
]
