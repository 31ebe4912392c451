"""The restricted Boltzmann machine in scikit-learn: a training step."""

import numpy as np
from sklearn.neural_network import BernoulliRBM


def rbm(wrap):
    """One update by persistent chains of scikit-learn's machine, which has no compiler."""
    machine = BernoulliRBM(500, batch_size=100, learning_rate=0.01)
    x = (np.random.default_rng(0).random((100, 784)) < 0.13).astype(np.float32)
    return lambda: machine.partial_fit(x)
