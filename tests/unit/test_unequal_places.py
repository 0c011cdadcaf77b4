"""Factories of unlike size, as `hanse reproduce recommend-elsewhere` makes them of equal ones."""

import numpy as np

from fl.data.tables import Split, Table
from node.reproduce.recommend_elsewhere import PLACES, RecommendElsewhere, _first


def table(labels):
    features = np.arange(len(labels), dtype=np.float32)[:, None]
    return Table(features, np.array(labels, np.int64), ("a", "b"))


def test_a_smaller_factory_has_every_class_in_the_same_share():
    whole = Split(table([0] * 20 + [1] * 40), table([0, 1]))
    for of in (1, 3, 10):
        kept = _first(whole, of, 10)
        assert np.bincount(kept.train.labels).tolist() == [2 * of, 4 * of]
        # Records of the whole, each once, in its order.
        assert (np.diff(kept.train.features[:, 0]) > 0).all()
        assert kept.test is whole.test
    assert _first(whole, 10, 10).train.labels.tolist() == whole.train.labels.tolist()


def test_only_the_place_that_is_unequal_says_so_and_every_default_names_its_rule():
    runs = RecommendElsewhere.at("quick")
    told = {(place.title, method): runs._settings(place, method) for place in PLACES for method in ("fedavg",)}
    assert [title for (title, _), settings in told.items() if settings.get("unequal")] == [
        place.title for place in PLACES if place.unequal
    ]
    default = runs._settings(PLACES[0], "gradient tracking, fitted")["terms"]
    assert (default["strategy"], default["rule"]) == ("gradient-tracking", "even-mean")
    assert "rule" not in told[PLACES[0].title, "fedavg"]["terms"]
