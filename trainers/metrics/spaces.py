"""Rows as vectors, between which metrics measure distances."""

import numpy as np

from trainers import classifier
from trainers.metrics.rows import real_rows

NUM_ROWS = 5000  # that a judge sees at once: a whole split may be too large for memory


class Vectors:
    """Rows of a run's data and samples as vectors of a space.

    "data": pixels, or points as they are. "features": those of the judge of a set of labelled images, whose accuracy
    and checksum stand beside; other data are their own features.

    Attributes:
        facts: dict, what stands beside numbers that are measured here.
    """

    def __init__(self, space, run, data):
        self._run, self._data = run, data
        self._judge = classifier.judge_of(data) if space == "features" and classifier.has_judge(data) else None
        judge = self._judge
        self.facts = {"judge": judge.checksum, "judge_accuracy": judge.accuracy} if judge else {}

    def __call__(self, x):
        """Vectors [n, size] of served rows [n, *shape]."""
        if self._judge is None:
            return np.reshape(x, [len(x), -1])
        return np.concatenate([self._judge.features(x[i : i + NUM_ROWS]) for i in range(0, len(x), NUM_ROWS)])

    def of(self, split, rows=np.s_[:]):
        """Those of rows of a split, by default all. Features are kept: several metrics share them."""
        if self._judge is None:
            return self(real_rows(self._run, self._data, split, rows))
        key, num = ("features", split), len(getattr(self._data, split))
        if key not in self._run.memory:
            starts = range(0, num, NUM_ROWS)
            parts = [self(real_rows(self._run, self._data, split, np.s_[i : i + NUM_ROWS])) for i in starts]
            self._run.memory[key] = np.concatenate(parts)
        return self._run.memory[key][rows]
