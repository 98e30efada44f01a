"""Tuning verdict in words, one for the command line and the notebook: the first line says what to do.

A promise needs every constraint proven and a gain expected; without a proven gain today's weights are kept.
"""

from __future__ import annotations

from desk.markup import percent
from value_model.tuning import TuningResult


def tuning_verdict(tuned: TuningResult) -> tuple[str, ...]:
    """The headline, what it rests on, and what would tell more."""
    goal, test = tuned.goal.maximise, tuned.verdict.experiment
    last = () if test is None else (f"The experiment that would tell: {test}.",)
    if not tuned.promised:
        problems = (f"{problem}." for problem in tuned.problems)
        return ("Nothing is promised: keep today's weights.", *problems, *(last or ("There is nothing to try.",)))
    where = f"on {len(tuned.judged):,} requests that the search never saw"
    gain = f"{goal} {percent(tuned.gain.value)} [{100 * tuned.gain.low:+.2f}, {100 * tuned.gain.high:+.2f}]"
    held = "; ".join(map(str, tuned.goal.constraints)) or "nothing else was held"
    if tuned.repaired:
        kept = "; ".join(map(str, tuned.repaired))
        return (f"Promised: {kept}, which today's weights break.", f"What it means for {gain}, {where}. Held: {held}.")
    if not tuned.proven:
        return (f"No proven gain: keep today's weights. Expected of {gain}, {where}.", f"Held: {held}.", *last)
    return (f"Promised: {gain}, proven {where}.", f"Held: {held}.")
