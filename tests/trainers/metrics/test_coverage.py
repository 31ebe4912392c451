"""Modes found by hand-made samples."""

import numpy as np
import pytest

from tests.trainers.metrics.made import MODES, data_of, keep, model_of, options, run_of, sampler_of
from trainers.data import load
from trainers.metrics import coverage


@pytest.mark.parametrize("samples, modes_found, share", [
    ([[0, 0]] * 6, 1, 1.0),
    ([[0.29, 0], [4, 0.31], [4.1, 4.1], [4, 4], [2, 2], [0, 4.22]], 3, 4 / 6),  # 0.31 is beyond three deviations
    ([[9, 9], [2, 2], [-5, 0]], 0, 0.0),
    ([[0, 0], [4, 0], [0, 4], [4, 4.25], [4.25, 4]], 4, 1.0),
])  # fmt: skip
@pytest.mark.parametrize("batch_size", [2, 100])
def test_modes_found(samples, modes_found, share, batch_size):
    data = data_of(MODES, MODES, MODES, 0.1)
    given = options(num_model_samples=len(samples), batch_size=batch_size)
    found = coverage.modes_found(sampler_of(samples), data, given)
    assert found["modes_found"] == modes_found and found["num_modes"] == 4
    assert found["num_model_samples"] == len(samples)
    np.testing.assert_allclose(found["high_quality_share"], share)
    error = np.sqrt(share * (1 - share) / len(samples))
    np.testing.assert_allclose(found["high_quality_share_standard_error"], error, atol=1e-9)


def test_modes_over_time(tmp_path):
    ring = load("ring")
    samples = {
        100: np.repeat(ring.modes[:3], 10, axis=0),
        200: np.concatenate([ring.modes[:2], np.zeros([6, 2])]),
        300: ring.modes,
        400: ring.modes[:1],  # after the checkpoint: of a run that was interrupted
    }
    keep(tmp_path, samples)
    found = coverage.modes_over_time(run_of(model_of(), tmp_path), ring, options())
    share = {"high_quality_share": 1.0, "high_quality_share_standard_error": 0.0}
    assert found == {"modes_found": 8, "num_modes": 8, **share, "fewest_modes_in_second_half": 2}
    assert (tmp_path / "modes.png").stat().st_size > 1000
