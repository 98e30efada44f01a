"""The tuning desk in a browser: one draft a person, over evidence that a thread loads when the first one comes."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from desk.checks import CheckReport
from desk.desk import Desk
from desk.exploration import WEIGHTINGS, Exploration
from desk.guardrails import GuardrailStatus
from desk.material import Material
from desk.policy_changes import changes
from desk.publication import RefusedError
from desk.scope import EVERYWHERE, Scope
from desk.verdict import tuning_verdict
from serving.console.board import PartPage
from serving.console.desk_line import DeskCall
from serving.console.front_picture import front_points
from serving.console.guardrail_bounds import bound_of, in_per_cent, shown_bound
from serving.console.pages import figure
from value_model.formula.constraint import Constraint
from value_model.tuning import ShadowPrice
from value_model.tuning.influence import Influence
from value_model.tuning.metrics import OBJECTIVES

logger = logging.getLogger(__name__)
MOST_DESKS = 6  # drafts in memory; the one that was not used for longest goes
MOST_PAGES = 10_000  # of requests, then from the first again
AGAIN = 10.0  # seconds after a load that failed has begun, from when a look begins another
FIELD = "w."  # before a weight's name in a form
FRONT, LOADING = "front", "desk_loading"
SWAPPED = {"move": "desk_results", "search": "desk_front"}  # what of the page an action swaps; the others all of it


@dataclass
class SearchRun:
    """A search of a scope: how many weightings were tried, and what came of it."""

    tried: int = 0
    explored: Exploration | None = None
    problem: str = ""
    running: bool = True

    @property
    def share(self) -> float:
        return min(1.0, self.tried / WEIGHTINGS)


@dataclass
class OpenDesk:
    """One person's desk, and what was searched and measured of it."""

    desk: Desk
    searches: dict[Scope, SearchRun] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class EvidenceLoad:
    """Evidence on its way."""

    began: float
    material: Material | None = None
    problem: str = ""


class DeskPart:
    """`open_material` gives the requests of the service's folder, None = it has none; takes seconds."""

    def __init__(self, open_material: Callable[[], Material | None], *, clock: Callable[[], datetime]) -> None:
        self._open_material, self._clock = open_material, clock
        self._loading: EvidenceLoad | None = None
        self._desks: OrderedDict[str, OpenDesk] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, call: DeskCall) -> PartPage:
        opened = self._opened(call.person)
        if isinstance(opened, PartPage):
            return opened
        with opened.lock:
            if call.form.get("pane") == FRONT:
                return PartPage("desk_front", self._front(opened))
            if scope := call.form.get("scope"):
                opened.desk.look(_scope(opened.desk, scope))
            if page := call.form.get("page"):
                opened.desk.look(page=int(page) % MOST_PAGES)
            return PartPage("desk", self._values(opened))

    def act(self, call: DeskCall) -> PartPage:
        opened = self._opened(call.person)
        if isinstance(opened, PartPage):
            return opened
        act = {
            "move": self._move,
            "restore": self._restore,
            "follow": self._follow,
            "reset": self._reset,
            "guard": self._guard,
            "search": self._search,
            "load": self._load,
            "influence": self._influence,
            "check": self._check,
            "save": self._save,
            "bring_in": self._bring_in,
        }.get(call.action)
        if act is None:
            raise RefusedError(f"the desk has no {call.action!r}.")
        with opened.lock:
            try:
                return act(opened, call)
            except (ValueError, OSError, LookupError) as error:
                template = SWAPPED.get(call.action, "desk") if call.in_part else "desk"
                return PartPage(template, self._values(opened), "refused", {}, str(error), bad=True, status=409)

    def _opened(self, person: str) -> OpenDesk | PartPage:
        """The person's desk, or how far its evidence is."""
        with self._lock:
            if self._loading is None or (self._loading.problem and time.monotonic() - self._loading.began > AGAIN):
                self._loading = EvidenceLoad(time.monotonic())
                threading.Thread(target=self._load_material, args=(self._loading,), daemon=True).start()
            if self._loading.material is None:
                seconds = time.monotonic() - self._loading.began
                values = {"seconds": int(seconds), "problem": self._loading.problem}
                return PartPage(LOADING, values)
            if person not in self._desks:
                self._desks[person] = OpenDesk(Desk(self._loading.material))
            self._desks.move_to_end(person)
            while len(self._desks) > MOST_DESKS:
                self._desks.popitem(last=False)
            return self._desks[person]

    def _load_material(self, loading: EvidenceLoad) -> None:
        try:
            material = self._open_material()
        except Exception as error:  # whatever it is, whoever waits must be told
            logger.exception("the desk has no evidence")
            loading.problem = str(error) or type(error).__name__
        else:
            loading.problem = "" if material is not None else "no run and no log with requests lies in the folder."
            loading.material = material

    def _values(self, opened: OpenDesk) -> dict[str, object]:
        """All that the page shows of a draft."""
        desk, view = opened.desk, opened.desk.view()
        worst_last = sorted(view.guardrails, key=lambda row: list(GuardrailStatus).index(row.status))
        held = [c for c in desk.guardrails if c.metric in desk.metrics]
        return {
            "desk": desk,
            "shown": view,
            "notes": desk.material.notes,
            "lights": {row.constraint.metric: row for row in worst_last},
            "guardrails": [(c, shown_bound(c), in_per_cent(c)) for c in held],
            "agreement": desk.agreement(""),
            "behind": desk.behind,
            "changed": [str(change) for change in changes(desk.policy, desk.draft)],
            "report": None,
            "influences": (),
            "places": desk.places,
            **self._front(opened),
        }

    def _front(self, opened: OpenDesk) -> dict[str, object]:
        """How far the present scope's search is, or what it gave."""
        desk, search = opened.desk, opened.searches.get(opened.desk.scope)
        goal = next((name for name in OBJECTIVES if name in desk.metrics), "")
        explored = None if search is None else search.explored
        other = next((name for name in desk.metrics if name != goal), goal)
        shown: dict[str, object] = {"search": search, "explored": explored, "metrics": desk.metrics}
        if explored is None:
            return shown | {"chosen": {"across": other, "up": goal}}
        return shown | {
            "chosen": dict(zip(("across", "up"), explored.front.metrics, strict=True)),
            "points": front_points(explored),
            "prices": [_price(price, desk.draft.currency) for price in explored.prices],
            "verdict": " ".join(tuning_verdict(explored.tuned)),
        }

    def _move(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        desk = opened.desk
        now = desk.scope.weights(desk.draft)
        moved = {}
        for weight in desk.weights:
            text = call.form.get(FIELD + weight.name, "").strip()
            if text in ("", f"{now[weight.name]:.4g}"):
                continue
            value = float(text)
            if not weight.low <= value <= weight.high:
                raise RefusedError(
                    f"{weight.name} lies between {weight.low:g} and {weight.high:g}: {text} is not taken."
                )
            moved[weight.name] = value
        desk.move(moved)
        return PartPage("desk_results" if call.in_part else "desk", self._values(opened))

    def _restore(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        opened.desk.restore(call.form["weight"])
        return PartPage("desk", self._values(opened))

    def _follow(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        opened.desk.follow(call.form["weight"])
        return PartPage("desk", self._values(opened))

    def _reset(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        opened.desk.reset()
        return PartPage("desk", self._values(opened))

    def _guard(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        for constraint in opened.desk.guardrails:
            text = call.form.get(constraint.subject, "").strip()
            if text and float(text) != shown_bound(constraint):
                opened.desk.guard(constraint.subject, bound_of(constraint, float(text)))
        return PartPage("desk", self._values(opened))

    def _search(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        desk, scope = opened.desk, opened.desk.scope
        known = opened.searches.get(scope)
        if known is None or not known.running:
            search = opened.searches[scope] = SearchRun()
            metrics = (call.form.get("across", ""), call.form.get("up", ""))
            if not set(metrics) <= set(desk.metrics) or metrics[0] == metrics[1]:
                del opened.searches[scope]
                raise RefusedError("not searched: choose two metrics that differ.")
            threading.Thread(target=_explore, args=(desk, search, metrics), daemon=True).start()
        return PartPage("desk_front", self._front(opened))

    def _load(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        search, point = opened.searches.get(opened.desk.scope), call.form.get("point", "")
        if search is None or search.explored is None:
            raise RefusedError("not loaded: nothing was searched here yet.")
        opened.desk.load(search.explored, None if point == "best" else int(point))
        return PartPage("desk", self._values(opened), "desk_loaded")

    def _influence(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        influences: tuple[Influence, ...] = opened.desk.influence()
        values = {"influences": influences, "places": opened.desk.places}
        return PartPage("desk_influence", values) if call.in_part else PartPage("desk", self._values(opened) | values)

    def _check(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        report: CheckReport = opened.desk.check()
        values = {"report": report}
        return PartPage("desk_checks", values) if call.in_part else PartPage("desk", self._values(opened) | values)

    def _save(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        form, agreed = call.form, [name[6:] for name in call.form if name.startswith("agree.")]
        saved = opened.desk.save(
            form.get("owner", ""),
            form.get("reason", ""),
            now=self._clock(),
            despite="despite" in form,
            approved_by=agreed,
            share=float(form.get("share") or 100) / 100,
            reviewed="reviewed" in form,
            key=call.view.caller,
        )
        words = {"number": saved.record.number, "version": saved.record.version}
        text = "served_done" if saved.record.share == 1 else "desk_staged"
        return PartPage("desk", self._values(opened), text, words)

    def _bring_in(self, opened: OpenDesk, call: DeskCall) -> PartPage:
        opened.desk.bring_in()
        return PartPage("desk", self._values(opened), "desk_brought_in")


def _explore(desk: Desk, search: SearchRun, metrics: tuple[str, str]) -> None:
    """In a thread of its own."""

    def advance(tried: int) -> None:
        search.tried += tried

    try:
        search.explored = desk.explore(metrics, progress=advance)
    except ValueError as error:
        search.problem = str(error)
    except Exception as error:  # whatever it is, whoever waits must be told
        logger.exception("a search failed")
        search.problem = str(error) or type(error).__name__
    finally:
        search.running = False


def _price(price: ShadowPrice, currency: str) -> tuple[Constraint, str, str]:
    """What one more point of a guardrail costs per 1,000 requests, "" = nothing, and its interval."""
    unit = price.unit.split(" / ")[0].replace("currency", currency)
    value, low, high = (1000 * price.step * part for part in (price.price.value, price.price.low, price.price.high))
    if value == low == high == 0:
        return price.constraint, "", ""
    return price.constraint, f"{unit} {figure(value)}", f"{figure(low)} .. {figure(high)}"


def _scope(desk: Desk, title: str) -> Scope:
    """By its title; everywhere where there is none of it."""
    return next((scope for scope in desk.scopes if scope.title == title), EVERYWHERE)
