"""docs/extending.md, "A head": the row of the page is put into the table, and its example trains, predicts and pays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from recipes import blocks

ROOT = Path(__file__).parents[2]

# The example in a process of its own, whose table of heads is the house's with the row of the page at its end.
RUN = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("marketplace.heads", "heads.py")
sys.modules["marketplace.heads"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
exec(open("example.py").read())
from value_model.formula.metrics import NAMES
from value_model.policy_checks import check_policy_file
truth = 1 / (1 + np.exp(1 - match))
print([head.name for head in heads], round(float(np.corrcoef(predictions["wishlist"], truth)[0, 1]), 2))
np.testing.assert_allclose(value, 0.3 * predictions["wishlist"] + 0.05 * predictions["gmv"])
print([finding.rule for finding in check_policy_file("wishlists.toml")], "wishlist" in NAMES)
"""


@pytest.mark.slow
def test_the_recipe_of_a_head(tmp_path: Path) -> None:
    row, example = blocks("A head")
    table = (ROOT / "marketplace" / "heads.py").read_text()
    start = table.index("HEADS = (")
    end = table.index("\n)\n", start) + 1
    (tmp_path / "heads.py").write_text(f"{table[:end]}    {row.strip()},\n{table[end:]}")
    (tmp_path / "example.py").write_text(example)
    (tmp_path / "wishlists.toml").write_text(blocks("A head", "toml")[0])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    heads, findings = done.stdout.splitlines()[-2:]
    assert heads.startswith("['ctcvr', 'order_value', 'wishlist']")
    assert float(heads.split()[-1]) > 0.9
    assert findings == "[] True"
