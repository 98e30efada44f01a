"""A product manager's desk: weights moved on logged requests, their promised effect, and versions saved under checks.

`jobs.open_desk` -> `Desk` (state, no widgets) -> `desk_panel(desk)` (`desk.notebook.panel`: ipywidgets over it).
"""

from desk.desk import Desk, DeskView, SavedVersion
from desk.material import Material
from desk.publication import RefusedError
from desk.scope import EVERYWHERE, Scope

__all__ = ["EVERYWHERE", "Desk", "DeskView", "Material", "RefusedError", "SavedVersion", "Scope"]
