"""Ta Feng, the last month: the comparison of `online_retail_retrieval`, on a supermarket's baskets."""

from __future__ import annotations

from benchmarks.online_retail_retrieval import LastMonth, compare, moment

NAME = "ta_feng_retrieval"
LAST_MONTH = LastMonth(moment(2001, 1, 1), moment(2001, 2, 1), moment(2001, 3, 1))


def main() -> None:
    compare(NAME, "ta-feng", LAST_MONTH)


if __name__ == "__main__":
    main()
