"""One small script a question; `make bench` runs them and keeps their figures in results/."""
