from serving.candidate_budget import FEWEST, MARGIN, CandidateBudget

SECONDS = {"retrieve": 0.5, "store_items": 0.001, "score": 0.008, "value": 0.001, "slate": 0.002, "log": 0.001}


def test_as_many_candidates_are_ranked_as_the_time_is_enough_for():
    budget = CandidateBudget()
    assert budget.fitting(500, left=0.0, places=10) == 500  # nothing is known yet
    budget.learn(SECONDS, candidates=500)  # 10 ms for 500, and 3 ms
    assert budget.fitting(500, left=MARGIN * 0.01301, places=10) == 500
    assert budget.fitting(500, left=MARGIN * 0.00801, places=10) == 250
    assert budget.fitting(500, left=float("inf"), places=10) == 500
    assert budget.fitting(500, left=-1.0, places=20) == 40
    assert budget.fitting(500, left=-1.0, places=1) == FEWEST
    assert budget.fitting(7, left=-1.0, places=20) == 7


def test_a_budget_follows_what_rankings_take():
    budget = CandidateBudget()
    for _ in range(200):
        budget.learn(SECONDS, candidates=500)
    for _ in range(200):
        budget.learn({stage: 2 * value for stage, value in SECONDS.items()}, candidates=500)
    assert budget.fitting(500, left=MARGIN * 0.01602, places=10) in (249, 250)
