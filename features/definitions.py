"""The standard features of any market: names, groups and meanings; their numbers are `features.formulas`.

What changes with time (popularity, rates, age) is in the cross group although it depends on the item alone: the item
group is encoded once an item and cached, and a cached statistic would go stale without anybody noticing.

Features that compare a row with its list (price rank, popularity rank) are left out by default: training lists are
the items shown, serving lists are the hundreds of candidates retrieved, and a rank among 20 is not a rank among 500.
They belong to rankers of a caller's own list (`/v1/rank`), whose training and serving lists are of one kind.
"""

from __future__ import annotations

from features.spec import Feature, FeatureSpec, Group, Kind

CONTEXT = ("country", "city", "device")
HISTORY = 20  # items
TOKENS = 12  # words of a name
QUERY_TOKENS = 8


def standard_spec(
    *,
    context: tuple[str, ...] = CONTEXT,
    impressions: bool = True,
    text: bool = True,
    against_list: bool = False,
) -> FeatureSpec:
    """The features of a market.

    `context`: which entries of the request's context to use. `impressions`: whether lists were recorded (else click
    and impression statistics are left out). `text`: name and query words. `against_list`: comparisons within the list.
    """
    features = (*_user(context), *_item(), *_cross())
    without: set[str] = set()
    if not impressions:
        without |= {"impressions", "ctr_smoothed", "order_rate_smoothed", "user_clicks", "pair_clicks"}
    if not text:
        without |= {"query_tokens", "name_tokens"}
    if not against_list:
        without |= {"price_rank", "price_to_list", "popularity_rank"}
    return FeatureSpec(tuple(feature for feature in features if feature.name not in without))


def _user(context: tuple[str, ...]) -> list[Feature]:
    entries = [category(Group.USER, name, f"{name} of the request's context") for name in context]
    return [
        category(Group.USER, "user_id", "the shopper or household"),
        category(Group.USER, "user_country", "country in the user table", vocabulary="country"),
        category(Group.USER, "user_segment", "the data's own grouping of users"),
        category(Group.USER, "surface", "where the slate is shown"),
        *entries,
        category(Group.USER, "page_merchant", "merchant whose store page it is", vocabulary="merchant"),
        category(Group.USER, "page_item", "item whose product page it is", vocabulary="item"),
        categories(Group.USER, "query_tokens", "words of the search text", vocabulary="token", length=QUERY_TOKENS),
        categories(Group.USER, "history_items", "last distinct items touched, newest last", vocabulary="item"),
        categories(Group.USER, "history_categories", "their categories", vocabulary="category"),
        number(Group.USER, "hour_sin", "time of day (UTC), sine"),
        number(Group.USER, "hour_cos", "time of day (UTC), cosine"),
        number(Group.USER, "weekday_sin", "day of the week (UTC), sine"),
        number(Group.USER, "weekday_cos", "day of the week (UTC), cosine"),
        count(Group.USER, "user_clicks", "clicks so far"),
        count(Group.USER, "user_carts", "cart events so far"),
        count(Group.USER, "user_orders", "orders so far"),
        count(Group.USER, "user_days_since", "days since the last click, cart or order"),
        count(Group.USER, "user_last_price", "catalogue price of the last touched item, currency"),
    ]


def _item() -> list[Feature]:
    return [
        category(Group.ITEM, "item_id", "the item", vocabulary="item"),
        category(Group.ITEM, "category", "leaf category", vocabulary="category"),
        category(Group.ITEM, "merchant_id", "who sells it", vocabulary="merchant"),
        categories(Group.ITEM, "name_tokens", "words of its name", vocabulary="token", length=TOKENS),
        count(Group.ITEM, "price", "price as shown, currency"),
        number(Group.ITEM, "price_to_category", "log of price over its category's mean price"),
        number(Group.ITEM, "commission_rate", "merchant's commission, share of an order's value"),
        number(Group.ITEM, "quality", "merchant's service quality, [0, 1]"),
        number(Group.ITEM, "return_rate", "merchant's share of orders returned"),
        number(Group.ITEM, "refusal_rate", "merchant's share of cash-on-delivery orders refused"),
    ]


def _cross() -> list[Feature]:
    return [
        count(Group.CROSS, "popularity", "touches of the item, weighted and decayed"),
        count(Group.CROSS, "impressions", "times the item was shown so far"),
        number(Group.CROSS, "ctr_smoothed", "clicks per impression so far, drawn towards the market's"),
        number(Group.CROSS, "order_rate_smoothed", "orders per impression so far, drawn towards the market's"),
        count(Group.CROSS, "age_days", "days since launch"),
        count(Group.CROSS, "pair_clicks", "this user's clicks on the item so far"),
        count(Group.CROSS, "pair_carts", "this user's cart events of the item so far"),
        count(Group.CROSS, "pair_orders", "this user's orders of the item so far"),
        count(Group.CROSS, "pair_days_since", "days since this user touched the item"),
        number(Group.CROSS, "is_last_touched", "1 = the item this user touched last"),
        number(Group.CROSS, "same_category_as_last", "1 = of the category touched last"),
        number(Group.CROSS, "same_merchant_as_last", "1 = of the merchant touched last"),
        number(Group.CROSS, "price_to_last", "log of price over the last touched item's"),
        count(Group.CROSS, "category_touches", "this user's touches in the category so far"),
        count(Group.CROSS, "merchant_touches", "this user's touches of the merchant so far"),
        number(Group.CROSS, "price_rank", "share of the list that is cheaper"),
        number(Group.CROSS, "price_to_list", "log of price over the list's mean"),
        number(Group.CROSS, "popularity_rank", "share of the list that is less popular"),
    ]


def category(group: Group, name: str, meaning: str, *, vocabulary: str | None = None) -> Feature:
    return Feature(name, group, Kind.CATEGORY, meaning, vocabulary)


def categories(group: Group, name: str, meaning: str, *, vocabulary: str, length: int = HISTORY) -> Feature:
    return Feature(name, group, Kind.CATEGORIES, meaning, vocabulary, length)


def number(group: Group, name: str, meaning: str) -> Feature:
    return Feature(name, group, Kind.NUMBER, meaning)


def count(group: Group, name: str, meaning: str) -> Feature:
    """A heavy-tailed number: the model sees its log1p."""
    return Feature(name, group, Kind.NUMBER, meaning, log_scale=True)
