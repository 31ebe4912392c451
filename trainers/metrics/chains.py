"""How fast the Markov chain of a model moves: what its samples cost that are to be independent."""

import functools

import numpy as np
import tensorflow as tf

from common import pictures
from common.graph import graph
from trainers import classifier
from trainers.metrics.rows import require
from zoo.parts import boltzmann, gibbs, noise

NUM_CHAINS, NUM_STEPS = 100, 200
LAGS = (1, 10, 100)
NUM_LINES, NUM_COLUMNS, STRIDE = 4, 20, 5  # of the picture: chains, and every fifth of their states


def chain_mixing(run, data, options):
    """How alike and of how many classes the states of a chain are, one after the other; RUN_DIR/chain.png shows some.

    Chains go on for 200 steps: of a Boltzmann machine from the particles of its training, a step being a Gibbs sweep of
    all layers; of a generative stochastic network from 100 samples. x_t are the means that pixels are drawn from.
    `autocorrelation_L` is E[(x_t - m)'(x_{t+L} - m)] / E[|x_t - m|^2], m the mean of all: 1 of a chain that stands
    still, 0 of independent states. Where there is a judge, `class_changes` is the share of steps that lead to another
    class, `classes_visited` how many a chain has been in. Standard errors are by the spread of chains.
    """
    state, step, mean_of = _chains(run.model, options)
    advance, x = graph(step), []
    for k in range(NUM_STEPS):
        state = advance(state, tf.constant(k, tf.int64))
        x.append(run.model.to_served(mean_of(state)).numpy())
    x = np.reshape(x, [NUM_STEPS, -1, *data.shape])
    report = {}
    for lag in LAGS:
        report |= _mean_and_error(f"autocorrelation_{lag}", _autocorrelations(x.reshape(*x.shape[:2], -1), lag))
    if len(data.shape) == 3:
        shown = x[: NUM_COLUMNS * STRIDE : STRIDE, :NUM_LINES].swapaxes(0, 1)
        pictures.lines(list(shown), run.path / "chain.png")
    if classifier.has_judge(data):
        judge = classifier.judge_of(data)
        classes = judge.classes(x.reshape(-1, *data.shape)).reshape(x.shape[:2])
        report |= _mean_and_error("class_changes", (classes[1:] != classes[:-1]).mean(axis=0))
        report |= _mean_and_error("classes_visited", [len(np.unique(chain)) for chain in classes.T])
        report |= {"judge": judge.checksum, "judge_accuracy": judge.accuracy}
    return report | {"num_chains": x.shape[1], "num_steps": NUM_STEPS}


def _chains(model, options):
    """A state of chains, a function (state, k) that gives the next, and one that gives the means of x, in any shape."""
    if hasattr(model, "next_state"):
        seeds = tf.range(options.seed, options.seed + NUM_CHAINS, dtype=tf.int64)

        def next_state(state, k):
            return model.next_state(state, seeds, model.num_sample_steps + k)

        return graph(model.end)(seeds), next_state, lambda state: state.mean
    require(hasattr(model, "particles"), "the model draws its samples by no Markov chain")
    require(len(model.chains) == len(model.machine.b), "the chain is of layers above the data")
    machine, particles = model.machine.tensors(), model.particles
    numbers = gibbs.noise_of(machine)

    def sweep(states, k):
        keys = functools.partial(noise.key, options.seed, k, noise.EVALUATION)
        drawn = noise.of_keys(numbers, [len(particles[0])], keys)
        return gibbs.sweep(machine, states, gibbs.sampler(drawn, machine))

    def mean_of(states):
        return boltzmann.mean(machine, boltzmann.layer_input(machine, states, 0), 0)

    return particles, sweep, mean_of


def _autocorrelations(x, lag):
    """Those of each of the chains x [steps, chains, size], relative to the variance of all."""
    centred = x - x.mean(axis=(0, 1))
    products = np.sum(centred[lag:] * centred[:-lag], axis=-1).mean(axis=0)
    return products / np.square(centred).sum(axis=-1).mean()


def _mean_and_error(name, of_chains):
    error = np.std(of_chains, ddof=1) / np.sqrt(len(of_chains))
    return {name: float(np.mean(of_chains)), f"{name}_standard_error": float(error)}
