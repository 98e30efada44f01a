"""Training rows of a log join a request's features by request, whatever else the log holds."""

import numpy as np
from made_slates import make_slate

from jobs.join_feedback import logged_names, training_rows
from marketplace.attribution import attribute
from marketplace.schema import FEEDBACK, empty
from marketplace.slate import slates_to_table


def test_features_of_several_bundles_join_by_request():
    """Three requests and as many values of `of_item` in all: lengths that coincide say nothing."""
    slates = slates_to_table(
        [
            make_slate("r1", items=("a",), numeric={"age": np.array([1.0], np.float32)}),
            make_slate("r2", items=("b", "c", "d"), numeric={"of_item": np.array([5.0, 6.0, 7.0], np.float32)}),
            make_slate("r3", items=("e", "f"), numeric={"age": np.array([3.0], np.float32)}),
        ]
    )
    rows = training_rows(slates, attribute(slates, empty(FEEDBACK)).labels, names=logged_names(slates))
    none = np.nan
    np.testing.assert_array_equal(rows["feature_age"], [1, none, none, none, 3, 3])
    np.testing.assert_array_equal(rows["feature_of_item"], [none, 5, 6, 7, none, none])
