"""What is known of a person: traits folded from observations, and the timeline."""

from cdp.profiles.fold import fold
from cdp.profiles.model import Observation, TimelineEvent
from cdp.profiles.queries import add_observations
from cdp.profiles.service import ProfileService

__all__ = ["Observation", "ProfileService", "TimelineEvent", "add_observations", "fold"]
