"""Shipped policies that show one head each: the head's own test, `test_head_NAME.py`, repeats their arithmetic."""

from pathlib import Path

HEAD_POLICIES = {path.stem.removeprefix("test_head_") for path in Path(__file__).parent.glob("test_head_*.py")}
