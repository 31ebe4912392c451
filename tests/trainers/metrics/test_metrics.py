"""What metrics say of models and data that they are not for."""

import pytest

from tests.trainers.metrics.made import MODES, class_sampler_of, data_of, model_of, options, run_of, sampler_of
from trainers.metrics import METRICS

NOTHING, POINTS, MIXTURE = run_of(model_of()), data_of(MODES, MODES), data_of(MODES, MODES, MODES, 0.1)


@pytest.mark.parametrize("name, run, data", [
    ("modes_found", sampler_of(MODES), POINTS),
    ("importance_weighted_nll", NOTHING, None),
    ("ais_nll", NOTHING, None),
    ("class_accuracy", sampler_of(MODES), MIXTURE),
    ("class_accuracy", class_sampler_of(MODES), POINTS),
    ("nearest_neighbour_accuracy", NOTHING, POINTS),
    ("histogram_kl", sampler_of(MODES), MIXTURE),
    ("sample_energy_distance", sampler_of(MODES), data_of(MODES, MODES[:1])),
])  # fmt: skip
def test_metrics_that_do_not_apply(name, run, data):
    assert METRICS[name](run, data, options()) is None
