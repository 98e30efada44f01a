"""Two frames of features held against each other."""

import numpy as np
import pyarrow as pa


def assert_same_features(ours, theirs, spec):
    """Numbers to 1e-6 of their size, missing ones where the other's are; words, lists and categories as they are."""
    for feature in spec.features:
        one, other = (frame.columns[feature.name] for frame in (ours, theirs))
        if pa.types.is_floating(one.type):
            np.testing.assert_allclose(one.to_numpy(), other.to_numpy(), rtol=1e-6, err_msg=feature.name)
        else:
            assert one.to_pylist() == other.to_pylist(), feature.name
