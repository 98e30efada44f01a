"""One answer to every "how much": defined at the bottom of the house, where the simulator's truth gives it too."""

from marketplace.estimate import Estimate

__all__ = ["Estimate"]
