"""What models with a Boltzmann machine have in common: its weights, Markov chains, log Z, and annealed samples.

    log p(x) = log p*(x) - log Z       p* can be computed, Z = sum over all states of the machine is estimated

A step goes along Delta, statistics of the data minus those of the machine, which Markov chains give:

    theta <- theta + eps Delta
"""

import functools
import itertools

import keras
import numpy as np
import tensorflow as tf

from zoo.configuration import Argument
from zoo.game import Game
from zoo.parts import annealing, boltzmann, gibbs, noise
from zoo.parts.boltzmann import Machine


def tensor(variable, dtype="float32"):
    return tf.cast(tf.convert_to_tensor(variable.value), dtype)


class Weights(keras.Model):
    """The weights of a machine with layers of the given sizes.

    Args:
        max_norm: float, largest norm of the weights into a unit from below; 0 for none.
        variance: float, where s^2 of real visible units starts; None where they are binary.
        fixed: bool, whether s^2 stays there.
    """

    def __init__(self, sizes, max_norm=0.0, variance=None, fixed=False):
        super().__init__(name="machine")
        limit = keras.constraints.MaxNorm(max_norm, axis=0) if max_norm else None  # of all weights into a unit
        normal = functools.partial(keras.initializers.RandomNormal, stddev=0.01)  # each W has its own numbers
        self.W = [
            self.add_weight(shape=shape, initializer=normal(), constraint=limit, name=f"W{i}")
            for i, shape in enumerate(itertools.pairwise(sizes), start=1)
        ]
        self.b = [self.add_weight(shape=(n,), initializer="zeros", name=f"b{i}") for i, n in enumerate(sizes)]
        # In pre-training, a layer between two RBMs has the biases b + r in the lower one and b - r in the upper one.
        self.r = [self.add_weight(shape=(n,), initializer="zeros", name=f"r{i}") for i, n in enumerate(sizes[1:-1], 1)]
        self.log_variance = None
        if variance is not None:
            start = keras.initializers.Constant(np.log(variance))
            self.log_variance = self.add_weight(
                shape=sizes[:1], initializer=start, trainable=not fixed, name="log_variance"
            )
        self.built = True

    def tensors(self, dtype="float32"):
        """The parameters of the machine."""
        return self.natural(*([tensor(p, dtype) for p in parameters] for parameters in (self.W, self.b)))

    def stack(self):
        """Those of the RBMs of pre-training: all W, then the biases of their lower layers and of their upper layers."""
        W, b = ([tensor(p) for p in parameters] for parameters in (self.W, self.b))
        r = [0.0, *map(tensor, self.r), 0.0]
        lower, upper = ([a + sign * c for a, c in zip(b, r, strict=True)] for sign in (-1.0, 1.0))
        return self.natural(W, [*lower[:-1], *upper[1:]])

    def natural(self, W, b):
        if self.log_variance is None:
            return Machine(W, b)
        return boltzmann.gaussian(Machine(W, b), tensor(self.log_variance, b[0].dtype))


Weights.__name__ = "Parameters"  # by which `.keras` files find them, those of before too


class EnergyModel(Game):
    """A model whose p(x) has the partition function of a Boltzmann machine, its `machine`, of class `Weights`.

    A subclass makes `machine` in `make_networks`, and then calls `make_chains`.
    """

    shared_arguments = Game.shared_arguments | {
        "num_chains": Argument(int, 100, "int, persistent Markov chains."),
        "sample_steps": Argument(int, 500, "int, Gibbs sweeps behind each sample, on an annealed path."),
        "log_z_betas": Argument(int, 2000, "int, steps of the annealed importance sampling of log Z for an export."),
        "log_z_runs": Argument(int, 100, "int >= 2, its runs."),
    }
    default_optimizers = {"machine": {"optimizer": "sgd", "learning_rate": 0.005, "momentum": 0.9}}
    metric_names = ("reconstruction", "unnormalized_bound")

    def check_arguments(self):
        if self.log_z_runs < 2:
            raise ValueError(f"log_z_runs must be 2 or more, whose spread is log Z's error, not {self.log_z_runs}.")

    def make_chains(self, sizes):
        """Chains of layers of these sizes, of which the last are those of the machine, and log Z with its error."""
        state = functools.partial(self.add_weight, trainable=False, aggregation="only_first_replica")
        constant = keras.initializers.Constant
        self.chains = [
            state(shape=(self.num_chains, n), initializer=constant(0.5), name=f"chain_{i}")  # a sweep draws them apart
            for i, n in enumerate(sizes)
        ]
        self.log_z = state(shape=(), initializer="zeros", name="log_z")
        self.log_z_error = state(shape=(), initializer=constant(-1.0), name="log_z_error")  # -1: log_z is not known

    @property
    def particles(self):
        """The states of the machine's chains, [num_chains, n] for each of its layers."""
        return [tensor(chain) for chain in self.chains[-len(self.machine.b) :]]

    def weights_down(self):
        """Weights [n_{l-1}, n_l] from each hidden layer to the one beneath it, from below."""
        return [tensor(W) for W in self.machine.W]

    @property
    def knows_log_z(self):
        return self.log_z_error.numpy() >= 0.0

    # --- Learning ----------------------------------------------------------------------------------------------------

    def parameters(self):
        """What a step changes: machines, as functions of the weights."""
        return self.machine.stack()

    def in_phase(self, steps, phases):
        """What the phase gives that the step falls in: `steps` are the lengths of all phases but the last.

        A phase is a function that returns Delta, as `parameters` has it, the states of all chains, and what is logged.
        """
        ends = tf.constant(np.cumsum(steps), tf.int64)
        return self.phase(tf.math.count_nonzero(self.step.value >= ends, dtype=tf.int32), phases)

    def climb(self, steps, phases):
        """One step along the Delta of the phase that it falls in, of `in_phase`."""
        delta, states, logged = self.in_phase(steps, phases)
        # The gradient by the parameters is minus Delta: theta <- theta + eps Delta, and so for what they depend on.
        self.minimize(lambda: {"machine": -boltzmann.inner(self.parameters(), delta), **logged})
        for chain, state in zip(self.chains, states, strict=True):
            chain.assign(state)
        self.log_z_error.assign(-1.0)
        return self.next_step()

    def on_chains(self, states):
        """Rows of `states`, tensors [batch, n], for the chains to go on from."""
        rows = tf.range(self.num_chains) % tf.shape(states[0])[0]
        return [tf.gather(state, rows) for state in states]

    # --- The partition function --------------------------------------------------------------------------------------

    def base(self, machine):
        """Biases [n] of the machine without weights that annealing sets out from, which has the chains' marginals."""
        return [tf.cast(b, machine.biases[0].dtype) for b in gibbs.base_rates(self.particles, self.precisions)]

    @property
    def precisions(self):
        return self.machine.tensors().precisions

    def estimate_log_z(self, **settings):
        """`annealing.LogZ` of the machine as it is, annealed from the marginals of the particles."""
        machine = self.machine.tensors()
        return annealing.estimate_log_z(machine, self.base(machine), **settings)

    def before_export(self, results):
        """Takes log Z from the results of `trainers.evaluate`, or estimates it."""
        if measured := results.get("ais_log_likelihood"):
            log_z, error = measured["log_z"], measured["log_z_standard_error"]
        else:
            log_z, error = self.estimate_log_z(num_betas=self.log_z_betas, num_runs=self.log_z_runs, seed=self.seed)
        self.log_z.assign(log_z)
        self.log_z_error.assign(error)
        return {"log_z": log_z, "log_z_standard_error": error}

    # --- Serving -----------------------------------------------------------------------------------------------------

    def annealed(self, seeds, known=None, V=None):
        """The machine's lowest layer given the next, at the end of an annealed path: its input, float64 [batch, n].

        Row i is a function of seeds[i] only. On the path the `known` units, bool [batch, n], are those of V.
        """
        # In float64: a rounding error that depends on the batch would flip a unit, and lead the row elsewhere.
        machine = self.machine.tensors("float64")
        base, of_sweep = self.base(machine), gibbs.noise_of(machine)

        def draw(k):
            draw = gibbs.sampler(noise.of_rows(of_sweep, seeds, noise.CHAIN, k), machine)
            return draw if known is None else gibbs.clamped(draw, known, tf.cast(V, tf.float64))

        path = annealing.machine_path(machine, base, annealing.machine_betas(self.sample_steps), draw)
        start = gibbs.independent(machine._replace(biases=base), draw(0))
        _, states = annealing.anneal(path, tf.zeros_like(seeds, tf.float64), start)
        return boltzmann.layer_input(machine, states, 0)
