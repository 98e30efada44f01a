"""A product manager's desk: weights moved on logged requests, their promised effect, and versions saved under checks.

`open_desk()` -> `Desk` (state, no widgets) -> `desk_panel(desk)` (`jobs.tuning_desk.panel`: ipywidgets over it).
"""

from jobs.tuning_desk.checking import RefusedError
from jobs.tuning_desk.desk import Desk, Saved, View
from jobs.tuning_desk.material import Material, material_of_run
from jobs.tuning_desk.scope import EVERYWHERE, Scope
from jobs.tuning_desk.start import open_desk

__all__ = ["EVERYWHERE", "Desk", "Material", "RefusedError", "Saved", "Scope", "View", "material_of_run", "open_desk"]
