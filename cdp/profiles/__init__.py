"""What is known of a person: traits folded from observations, and the timeline."""

from cdp.profiles.fold import FINE, Trust, fold
from cdp.profiles.model import CORRECTION, WITHDRAWN, Observation, Survivor, TimelineEvent, mark
from cdp.profiles.queries import add_observations, forget_observations
from cdp.profiles.service import ProfileService

__all__ = [
    "CORRECTION",
    "FINE",
    "WITHDRAWN",
    "Observation",
    "ProfileService",
    "Survivor",
    "TimelineEvent",
    "Trust",
    "add_observations",
    "fold",
    "forget_observations",
    "mark",
]
