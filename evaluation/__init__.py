"""Was it right: metrics with intervals, reports and the estimators behind them."""
