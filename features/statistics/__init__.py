"""Statistics: what is counted and remembered of items and users; one file a statistic, one row here.

A new count of events is a row of `counts.COUNTS` alone. Order is that of the features in a spec.
"""

from __future__ import annotations

from features.statistics.alike_lists import AlikeLists
from features.statistics.category_rates import CategoryRates
from features.statistics.counts import Counts
from features.statistics.distinct_shoppers import DistinctShoppers
from features.statistics.earlier_lists import EarlierLists
from features.statistics.page_items import PageItems
from features.statistics.popularity import DecayedPopularity
from features.statistics.shown_items import ShownItems
from features.statistics.statistic import Statistic
from features.statistics.user_counts import UserCounts
from features.statistics.user_items import UserItems
from features.statistics.visit_items import VisitItems

ITEM_STATISTICS: tuple[type[Statistic], ...] = (DecayedPopularity, Counts, DistinctShoppers)
USER_STATISTICS: tuple[type[Statistic], ...] = (UserCounts, UserItems, ShownItems, CategoryRates)
PAGE_STATISTICS: tuple[type[Statistic], ...] = (PageItems,)
LIST_STATISTICS: tuple[type[Statistic], ...] = (VisitItems, EarlierLists, AlikeLists)
STATISTICS = (*ITEM_STATISTICS, *USER_STATISTICS, *PAGE_STATISTICS, *LIST_STATISTICS)
