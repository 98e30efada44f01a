"""A formula is evaluated, explained, checked and turned into slates without TensorFlow."""

import subprocess
import sys

MODULES = (
    "value_model.formula",
    "value_model.formula.explain",
    "value_model.tuning.influence",
    "value_model.merchant",
    "value_model.slate_policies.slate_policy",
    "value_model.policy_checks",
    "value_model.slate_policies.slate_section",
    "value_model.formula.weights_in_money",
)


def test_the_value_layer_never_imports_tensorflow() -> None:
    code = (
        f"import sys, {', '.join(MODULES)}; print([m for m in ('tensorflow', 'keras', 'tf_keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
