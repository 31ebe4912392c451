"""The deep Boltzmann machine of Salakhutdinov and Hinton 2009: an undirected model with layers of binary hidden units.

    p(v, h1 ... hL) = exp(-E(v, h1 ... hL)) / Z,   E = - v'W1 h1 - h1'W2 h2 - ... - b0'v - b1'h1 - ...

Objective, maximised over theta = {W, b}:

    L(q, theta):  E_{q(h|v)}[-E(v, h)] + H(q) - log Z  <=  log p(v),   q(h|v) = prod Bernoulli(mu) by mean field
    Delta theta:  E_data E_q[x_{l-1} x_l'] - E_p[x_{l-1} x_l'],   the second mean over persistent Markov chains

Notation, of algorithm 20.1 in Goodfellow et al. 2016:

    V          data, [m, n0], pixels in [0, 1]: a grey value counts as the probability of a one
    H_hat      [H1_hat, ..., HL_hat], means of q(h|v) for each row of V
    particles  [V_tilde, H1_tilde, ..., HL_tilde], states of the Markov chains, [num_chains, n_l]
    Delta      what the parameters move along: statistics of the data minus those of the particles

With one hidden layer it is a restricted Boltzmann machine, q is exact and L is log p(v) itself.
Pre-training takes the layers two by two, from below, as a stack of RBMs with the weights of the whole. A layer that is
to have two neighbours has one of them there, which therefore counts twice, as two copies of itself. A hidden layer has
biases of its own in each of its two RBMs, and their mean in the whole.

Departures from the paper: the biases of a layer learn at twice the rate while an RBM has half of them; momentum is
constant, and carries a layer on after its pre-training; statistics of the particles take means for draws of odd layers,
the sparsity penalty those of the minibatch. It computes in float32. Replicas advance the same particles.
"""

import functools
import itertools
import math

import keras
import numpy as np
import tensorflow as tf

from zoo.game import Game
from zoo.parts import annealing, boltzmann, gibbs, noise
from zoo.parts.boltzmann import Machine


def tensor(variable, dtype="float32"):
    return tf.cast(tf.convert_to_tensor(variable.value), dtype)


class Weights(keras.Model):
    """The weights of a machine with layers of the given sizes."""

    def __init__(self, sizes, max_norm):
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
        self.built = True

    def tensors(self, dtype="float32"):
        """The parameters of the machine."""
        return Machine(*([tensor(p, dtype) for p in parameters] for parameters in (self.W, self.b)))

    def stack(self):
        """Those of the RBMs of pre-training: all W, then the biases of their lower layers and of their upper layers."""
        W, b = self.tensors()
        r = [0.0, *map(tensor, self.r), 0.0]
        lower, upper = ([a + sign * c for a, c in zip(b, r, strict=True)] for sign in (-1.0, 1.0))
        return Machine(W, [*lower[:-1], *upper[1:]])

    def gradients(self, delta):
        """Those of the loss -inner(stack, delta) by W, b and r, in this order."""
        W, L = delta.weights, len(self.W)
        pairs = list(zip([*delta.biases[:L], 0.0], [0.0, *delta.biases[L:]], strict=True))  # of each layer in both RBMs
        return [-gradient for gradient in (*W, *(x + y for x, y in pairs), *(y - x for x, y in pairs[1:-1]))]


Weights.__name__ = "Parameters"  # by which `.keras` files find them, those of before too


class DBM(Game):
    """Deep Boltzmann machine, for images of black and white pixels; one hidden layer makes it an RBM.

    Args:
        data_shape: tuple of ints, `(height, width, channels)`.
        hidden_units: tuple of ints, sizes of the hidden layers, from the one next to the image.
        pretraining_steps: tuple of ints, steps of pre-training for each layer, from below; empty for none.
        pretraining_gibbs_steps: int, k of its contrastive divergence, CD-k.
        num_chains: int, persistent Markov chains.
        gibbs_steps: int, sweeps of the chains at each step.
        mean_field_steps: int, sweeps of mean field at most.
        mean_field_tolerance: float, mean field ends for an image when no mean moves by more in a sweep.
        sparsity_targets: tuple of floats, desired mean of the units of each hidden layer; empty for no penalty.
        sparsity_cost: float, the weight of the sparsity penalty.
        centered: bool, whether a step of algorithm 20.1 is that of a machine of units minus their means.
        max_norm: float, largest norm of the weights into a hidden unit from below; 0 for none.
        sample_steps: int, Gibbs sweeps behind each sample, on an annealed path.
        log_z_betas: int, steps of the annealed importance sampling of log Z for an export.
        log_z_runs: int >= 2, its runs.

    Example:

        model = DBM(data_shape=(28, 28, 1), hidden_units=(500, 1000))
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1], zeros and ones
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        R. Salakhutdinov and G. Hinton. Deep Boltzmann machines. AISTATS 2009, sections 2 and 3.
        I. Goodfellow, Y. Bengio and A. Courville. Deep learning. MIT Press 2016, algorithm 20.1.
    """

    default_optimizers = {"machine": {"optimizer": "sgd", "learning_rate": 0.005, "momentum": 0.9}}
    metric_names = ("reconstruction", "unnormalized_bound")
    support = "binary"

    def __init__(
        self, *, data_shape, hidden_units: tuple[int, ...] = (500, 1000),
        pretraining_steps: tuple[int, ...] = (), pretraining_gibbs_steps: int = 1,
        num_chains: int = 100, gibbs_steps: int = 5, mean_field_steps: int = 30, mean_field_tolerance: float = 1e-3,
        sparsity_targets: tuple[float, ...] = (), sparsity_cost: float = 0.001, centered: bool = False,
        max_norm: float = 0.0, sample_steps: int = 500, log_z_betas: int = 2000, log_z_runs: int = 100, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if self.data_name == "points" or not self.hidden_units:
            raise ValueError("the machine is for images, whose pixels are its visible units, and has hidden layers.")
        for argument in ("pretraining_steps", "sparsity_targets"):
            if len(getattr(self, argument)) not in (0, num := len(self.hidden_units)):
                raise ValueError(f"{argument} must have one element for each of the {num} hidden layers.")
        if self.log_z_runs < 2:
            raise ValueError(f"log_z_runs must be 2 or more, whose spread is log Z's error, not {self.log_z_runs}.")

    def make_networks(self):
        self.machine = Weights(self.sizes, self.max_norm)
        state = functools.partial(self.add_weight, trainable=False, aggregation="only_first_replica")
        constant = keras.initializers.Constant
        self.chains = [
            state(shape=(self.num_chains, n), initializer=constant(0.5), name=f"chain_{i}")  # a sweep draws them apart
            for i, n in enumerate(self.sizes)
        ]
        self.log_z = state(shape=(), initializer="zeros", name="log_z")
        self.log_z_error = state(shape=(), initializer=constant(-1.0), name="log_z_error")  # -1: log_z is not known

    @property
    def particles(self):
        return [tensor(chain) for chain in self.chains]

    @property
    def sizes(self):
        return (math.prod(self.data_shape), *self.hidden_units)  # units in each layer, from the visible one

    @property
    def moves(self):
        return {"machine": [self.machine]}

    @property
    def draws(self):
        return ("gibbs",) * max(self.gibbs_steps, 2 * self.pretraining_gibbs_steps * bool(self.pretraining_steps))

    # --- Learning ----------------------------------------------------------------------------------------------------

    def train_step(self, x):
        V = tf.reshape(x, [-1, self.sizes[0]])
        stack = [functools.partial(self.contrastive_divergence, V, i + 1) for i in range(len(self.pretraining_steps))]
        ends = tf.constant(np.cumsum(self.pretraining_steps), tf.int64)
        phase = tf.math.count_nonzero(self.step.value >= ends, dtype=tf.int32)
        delta, particles, metrics = self.phase(phase, [*stack, functools.partial(self.algorithm, V)])
        loss = -boltzmann.inner(self.machine.stack(), delta)  # whose gradient is minus Delta
        self.descend("machine", self.machine.gradients(delta))  # W <- W + eps Delta
        self.track({"machine": loss, **metrics})
        for chain, particle in zip(self.chains, particles, strict=True):
            chain.assign(particle)
        self.log_z_error.assign(-1.0)
        return self.next_step()

    def algorithm(self, V):
        """Algorithm 20.1 up to the update: Delta, the particles, and what is logged."""
        theta = self.machine.tensors()
        V, *H_hat = self.states(V)  # while not converged (mean field inference loop)
        data = boltzmann.statistics([V, *H_hat])  # Delta W(1) <- 1/m V' H1_hat, ...
        particles = self.particles
        for i in range(self.gibbs_steps):  # for l = 1 to k (Gibbs sampling)
            uniform = noise.uniform(self.key("gibbs", i, shared=True), [self.num_chains, sum(self.sizes)])
            particles = gibbs.sweep(theta, particles, gibbs.sampler(uniform, theta))
        model = boltzmann.statistics(gibbs.odd_means(theta, particles))  # Delta W(1) <- ... - 1/m V_tilde' H1_tilde
        W, b = delta = boltzmann.difference(data, model, self.sparsity_targets, self.sparsity_cost)
        if self.centered:
            W, b = boltzmann.center(delta, [(x + y) / 2.0 for x, y in zip(data.biases, model.biases, strict=True)])
        middle = [a / 2.0 for a in b[1:-1]]
        return Machine(W, [b[0], *middle, *middle, b[-1]]), particles, boltzmann.objectives(theta, [V, *H_hat], data)

    def contrastive_divergence(self, V, i):
        """CD-k of the RBM of the layers i - 1 and i, in the place of `algorithm`; the particles follow the data."""
        W, biases = stack = self.machine.stack()
        L = len(W)
        copies = (2 if i < L else 1, 2 if i > 1 else 1)  # of layer i - 1, and of layer i; a state is their mean
        rbm = Machine([copies[0] * copies[1] * W[i - 1]], [copies[0] * biases[i - 1], copies[1] * biases[L + i - 1]])
        states = [V, *boltzmann.recognize(Machine(W, [None, *biases[L:]]), V)[:i]]
        data = boltzmann.statistics(states[-2:])
        keys = [[self.key("gibbs", 2 * i + j) for j in range(2)] for i in range(self.pretraining_gibbs_steps)]
        model = gibbs.contrastive_divergence(rbm, states[-1], keys, copies)
        sparsity = self.sparsity_targets[i - 1 : i], self.sparsity_cost
        pair = boltzmann.difference(data, boltzmann.statistics(model), *sparsity)
        delta = tf.nest.map_structure(tf.zeros_like, stack)
        delta.weights[i - 1], (delta.biases[i - 1], delta.biases[L + i - 1]) = pair.weights[0], pair.biases
        rows = tf.range(self.num_chains) % tf.shape(V)[0]
        particles = [tf.gather(state, rows) for state in states] + self.particles[i + 1 :]
        return delta, particles, boltzmann.objectives(rbm, states[-2:], data, copies)

    def states(self, x):
        """Data, flat, and the means of all hidden layers given it: [V, H1_hat, ..., HL_hat]."""
        V = tf.reshape(x, [-1, self.sizes[0]])
        return [V, *boltzmann.mean_field(self.machine.tensors(), V, self.mean_field_tolerance, self.mean_field_steps)]

    def test_step(self, x):
        """The losses of the whole machine, against the particles as they are."""
        theta, states = self.machine.tensors(), self.states(x)
        data, model = boltzmann.statistics(states), boltzmann.statistics(self.particles)
        gap = boltzmann.inner(theta, model) - boltzmann.inner(theta, data)
        self.track({"machine": gap, **boltzmann.objectives(theta, states, data)})
        return self.logs()

    # --- The partition function --------------------------------------------------------------------------------------

    def unnormalized_bound(self, x):
        """A lower bound on log p(x) + log Z, in nats [batch]; equal to it for an RBM."""
        V, *mu = self.states(x)
        return boltzmann.bound(self.machine.tensors(), V, mu)

    def estimate_log_z(self, **settings):
        """`annealing.LogZ` of the machine as it is, annealed from the marginals of the particles."""
        return annealing.estimate_log_z(self.machine.tensors(), gibbs.base_rates(self.particles), **settings)

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

    def sample(self, seeds):
        """A draw of the pixels, given a state that annealing from independent units has led to."""
        return self.served_pixels(noise.bernoulli_rows(seeds, self.pixels_of(seeds), noise.stream(noise.LIKELIHOOD)))

    def sample_mean(self, seeds):
        """Probabilities of ones, given the state that `sample` draws them from."""
        return self.served_pixels(self.pixels_of(seeds))

    def served_pixels(self, V):
        return self.to_served(tf.reshape(V, [-1, *self.data_shape]))

    def inpaint(self, images, known, seeds):
        """Completes images, of which bool `known`, of their shape, says what is given: a draw, and its mean.

        The path is that of `sample` with the known pixels held, so that it ends near p(missing | known).
        """
        known, V = (tf.reshape(each, [-1, self.sizes[0]]) for each in (known, images))
        mean = tf.where(known, tf.cast(V, tf.float64), self.pixels_of(seeds, known, V))
        draw = tf.where(known, V, noise.bernoulli_rows(seeds, mean, noise.stream(noise.LIKELIHOOD)))
        return [self.served_pixels(values) for values in (draw, mean)]

    def pixels_of(self, seeds, known=None, V=None):
        """p(v = 1 | h1), float64 [batch, n0], of the end of an annealed path; on it `known` pixels are those of V."""
        # In float64: a rounding error that depends on the batch would flip a unit, and lead the row elsewhere.
        machine = self.machine.tensors("float64")
        base = [tf.cast(a, tf.float64) for a in gibbs.base_rates(self.particles)]

        def draw(k):
            uniform = noise.uniform_rows(seeds, sum(self.sizes), noise.stream(noise.CHAIN, k))
            draw = gibbs.sampler(uniform, machine)
            return draw if known is None else gibbs.clamped(draw, known, tf.cast(V, tf.float64))

        path = annealing.machine_path(machine, base, annealing.machine_betas(self.sample_steps), draw)
        _, states = annealing.anneal(path, tf.zeros_like(seeds, tf.float64), gibbs.independent(base, draw(0)))
        return tf.sigmoid(boltzmann.layer_input(machine, states, 0))

    def encode(self, images):
        """Means of the hidden units, layer by layer, under the mean-field posterior."""
        return {f"h{i}": mean for i, mean in enumerate(self.states(images)[1:], start=1)}

    def reconstruct(self, images):
        """Probabilities of ones given the means of the first hidden layer that `encode` finds."""
        return self.served_pixels(tf.sigmoid(boltzmann.layer_input(self.machine.tensors(), self.states(images), 0)))

    def log_prob(self, images):
        """The variational bound, in nats, by a log Z that was estimated before the export: too small in expectation."""
        return {"log_prob_lower_bound": self.unnormalized_bound(images) - self.log_z.value}

    def signatures(self):
        reconstruct = (lambda images: {"images": self.reconstruct(images)}, self.data_spec)
        means = {"encode": (self.encode, self.data_spec), "reconstruct": reconstruct}
        scores = self.score_signature() if self.log_z_error.numpy() >= 0.0 else {}
        return super().signatures() | means | self.inpaint_signature() | scores
