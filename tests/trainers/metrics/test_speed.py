"""Samples a second, with a clock that is set by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.trainers.metrics.made import options, sampler_of
from trainers.metrics import speed


def test_the_first_call_does_not_count_and_one_slow_call_moves_nothing(monkeypatch):
    ticks = iter(np.cumsum([0.0, 0.5, 0.0, 0.5, 0.0, 9.0, 0.0, 0.5, 0.0, 0.5, 0.0, 0.5]))
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    report = speed.samples_per_second(sampler_of(np.zeros([20, 2])), None, options(batch_size=20))
    assert report["samples_per_second"] == 40.0 and report["num_rows_at_once"] == 20
    speeds = np.array([40.0, 40.0, 20.0 / 9.0, 40.0, 40.0])
    error = np.sqrt(np.pi / 2.0 / 5.0) * speeds.std(ddof=1)
    assert report["samples_per_second_standard_error"] == pytest.approx(error)
