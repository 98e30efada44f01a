"""A product manager's desk: weights moved on logged requests, their promised effect, and versions saved under checks.

`jobs.open_desk` -> `Desk` (state, no widgets) -> `desk_panel(desk)` (`desk.notebook.panel`: ipywidgets over it).
"""
