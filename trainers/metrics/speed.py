"""How fast a model draws."""

import time

import numpy as np
import tensorflow as tf

from common.graph import graph
from trainers.metrics.rows import require_samples

SECONDS, NUM_REPETITIONS = 5.0, 5  # of sampling together, and at least so many calls
MOST_REPETITIONS = 200


def samples_per_second(run, data, options):
    """Samples a second in batches of `batch_size`, as a graph on this machine, beside whatever else it does.

    The median of many calls after a first one, which compiles and is left out, and the standard error of the median as
    that of normal times. Only numbers of one machine can be compared.
    """
    require_samples(run)
    size = options.batch_size
    inputs = {"seeds": tf.range(size, dtype=tf.int64)}
    if run.model.conditional:
        inputs["label"] = inputs["seeds"] % run.model.num_classes
    sample, seconds = graph(run.model.sample), []
    sample(**inputs)
    while len(seconds) < NUM_REPETITIONS or (sum(seconds) < SECONDS and len(seconds) < MOST_REPETITIONS):
        start = time.perf_counter()
        sample(**inputs).numpy()
        seconds.append(time.perf_counter() - start)
    speeds = size / np.array(seconds)
    error = np.sqrt(np.pi / 2.0) * speeds.std(ddof=1) / np.sqrt(len(speeds))
    return {
        "samples_per_second": float(np.median(speeds)),
        "samples_per_second_standard_error": float(error),
        "num_rows_at_once": size,
    }
