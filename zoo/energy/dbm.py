"""The deep Boltzmann machine of Salakhutdinov and Hinton 2009: an undirected model with layers of binary hidden units.

    p(v, h1 ... hL) = exp(-E(v, h1 ... hL)) / Z,   E = - v'W1 h1 - h1'W2 h2 - ... - b0'v - b1'h1 - ...

Visible units are binary, or with `--visible=gaussian` real numbers, v ~ N(b0 + W1 h1, s^2) given h1 (Cho et al. 2013):

    E = sum (v - b0)^2 / (2 s^2) - (v / s^2)'W1 h1 - h1'W2 h2 - ... - b1'h1 - ...

Objective, maximised over theta = {W, b} or {W, b, log s^2}:

    L(q, theta):  E_{q(h|v)}[-E(v, h)] + H(q) - log Z  <=  log p(v),   q(h|v) = prod Bernoulli(mu) by mean field
    Delta theta:  E_data E_q[x_{l-1} x_l'] - E_p[x_{l-1} x_l'],   the second mean over persistent Markov chains

Notation, of algorithm 20.1 in Goodfellow et al. 2016:

    V          data, [m, n0], pixels in [0, 1]: for binary units a grey value counts as the probability of a one
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
from typing import Literal

import tensorflow as tf

from zoo.energy.energy_model import EnergyModel, Weights
from zoo.parts import boltzmann, gibbs, noise
from zoo.parts.boltzmann import Machine

STREAM = noise.stream(noise.LIKELIHOOD)


class DBM(EnergyModel):
    """Deep Boltzmann machine, of black and white pixels or of real numbers; one hidden layer makes it an RBM.

    Real numbers are best of mean 0 and deviation 1: the rate that W1 and b0 need is in proportion to their variance.

    Args:
        hidden_units: tuple of ints, sizes of the hidden layers, from the one next to the data.
        visible: "binary", for images of black and white pixels, or "gaussian", for images in grey and points.
        visible_variance: float > 0, s^2 of each real unit, from which learning starts (gaussian).
        fixed_variance: bool, whether it stays there (gaussian).
        pretraining_steps: tuple of ints, steps of pre-training for each layer, from below; empty for none.
        pretraining_gibbs_steps: int, k of its contrastive divergence, CD-k.
        gibbs_steps: int, sweeps of the chains at each step.
        mean_field_steps: int, sweeps of mean field at most.
        mean_field_tolerance: float, mean field ends for an image when no mean moves by more in a sweep.
        sparsity_targets: tuple of floats, desired mean of the units of each hidden layer; empty for no penalty.
        sparsity_cost: float, the weight of the sparsity penalty.
        centered: bool, whether a step of algorithm 20.1 is that of a machine of units minus their means.
        max_norm: float, largest norm of the weights into a hidden unit from below; 0 for none.

    Example:

        model = DBM(data_shape=(28, 28, 1), hidden_units=(500, 1000))
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1], zeros and ones
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        R. Salakhutdinov and G. Hinton. Deep Boltzmann machines. AISTATS 2009, sections 2 and 3.
        I. Goodfellow, Y. Bengio and A. Courville. Deep learning. MIT Press 2016, algorithm 20.1.
        K. Cho, T. Raiko and A. Ilin. Gaussian-Bernoulli deep Boltzmann machine. IJCNN 2013.
    """

    def __init__(
        self, *, data_shape, hidden_units: tuple[int, ...] = (500, 1000),
        visible: Literal["binary", "gaussian"] = "binary", visible_variance: float = 1.0, fixed_variance: bool = False,
        pretraining_steps: tuple[int, ...] = (), pretraining_gibbs_steps: int = 1,
        num_chains, gibbs_steps: int = 5, mean_field_steps: int = 30, mean_field_tolerance: float = 1e-3,
        sparsity_targets: tuple[float, ...] = (), sparsity_cost: float = 0.001, centered: bool = False,
        max_norm: float = 0.0, sample_steps, log_z_betas, log_z_runs, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if not self.hidden_units:
            raise ValueError("hidden_units must not be empty: the machine has a hidden layer at least.")
        if self.data_name == "points" and not self.is_real:
            raise ValueError("visible=binary is for images of black and white pixels: for points choose gaussian.")
        if self.is_real and (self.centered or not self.visible_variance):
            raise ValueError("visible=gaussian needs visible_variance above 0, and a step that is not centered.")
        for argument in ("pretraining_steps", "sparsity_targets"):
            if len(getattr(self, argument)) not in (0, num := len(self.hidden_units)):
                raise ValueError(f"{argument} must have one element for each of the {num} hidden layers.")

    def make_networks(self):
        variance = self.visible_variance if self.is_real else None
        self.machine = Weights(self.sizes, self.max_norm, variance, self.fixed_variance)
        self.make_chains(self.sizes)

    @property
    def is_real(self):
        return self.visible == "gaussian"

    @property
    def support(self):
        return "reals" if self.is_real else "binary"

    @property
    def sizes(self):
        return (math.prod(self.data_shape), *self.hidden_units)  # units in each layer, from the visible one

    @property
    def moves(self):
        return {"machine": [self.machine]}

    @property
    def draws(self):
        of_sweep = 2 if self.is_real else 1  # which draws normal numbers, too
        of_pretraining = 2 * self.pretraining_gibbs_steps * bool(self.pretraining_steps)
        return ("gibbs",) * max(of_sweep * self.gibbs_steps, of_pretraining)

    # --- Learning ----------------------------------------------------------------------------------------------------

    def train_step(self, x):
        V = tf.reshape(x, [-1, self.sizes[0]])
        stack = [functools.partial(self.contrastive_divergence, V, i + 1) for i in range(len(self.pretraining_steps))]
        return self.climb(self.pretraining_steps, [*stack, functools.partial(self.algorithm, V)])

    def algorithm(self, V):
        """Algorithm 20.1 up to the update: Delta, the particles, and what is logged."""
        theta = self.machine.tensors()
        V, *H_hat = self.states(V)  # while not converged (mean field inference loop)
        data = boltzmann.statistics([V, *H_hat], self.is_real)  # Delta W(1) <- 1/m V' H1_hat, ...
        particles, of_sweep = self.particles, gibbs.noise_of(theta)
        keys = itertools.count()
        for _ in range(self.gibbs_steps):  # for l = 1 to k (Gibbs sampling)
            drawn = noise.of_keys(of_sweep, [self.num_chains], lambda _: self.key("gibbs", next(keys), shared=True))
            particles = gibbs.sweep(theta, particles, gibbs.sampler(drawn, theta))
        means = gibbs.odd_means(theta, particles)
        model = boltzmann.statistics(means, self.is_real)  # Delta W(1) <- ... - 1/m V_tilde' H1_tilde
        W, b, precisions = delta = boltzmann.difference(data, model, self.sparsity_targets, self.sparsity_cost)
        if self.centered:
            W, b, _ = boltzmann.center(delta, [(x + y) / 2.0 for x, y in zip(data.biases, model.biases, strict=True)])
        middle = [a / 2.0 for a in b[1:-1]]
        delta = Machine(W, [b[0], *middle, *middle, b[-1]], precisions)
        return delta, particles, boltzmann.objectives(theta, [V, *H_hat], data)

    def contrastive_divergence(self, V, i):
        """CD-k of the RBM of the layers i - 1 and i, in the place of `algorithm`; the particles follow the data."""
        W, biases, precisions = stack = self.machine.stack()
        L = len(W)
        copies = (2 if i < L else 1, 2 if i > 1 else 1)  # of layer i - 1, and of layer i; a state is their mean
        rbm = Machine(
            [copies[0] * copies[1] * W[i - 1]], [copies[0] * biases[i - 1], copies[1] * biases[L + i - 1]],
            tuple(copies[0] * precision for precision in precisions if i == 1),
        )  # fmt: skip
        states = [V, *boltzmann.recognize(Machine(W, [None, *biases[L:]]), V)[:i]]
        keys = [[self.key("gibbs", 2 * i + j) for j in range(2)] for i in range(self.pretraining_gibbs_steps)]
        sparsity = self.sparsity_targets[i - 1 : i], self.sparsity_cost
        pair, _, logged = gibbs.rbm_step(rbm, *states[-2:], states[-1], keys, *sparsity, copies)
        delta = tf.nest.map_structure(tf.zeros_like, stack)
        delta.weights[i - 1], (delta.biases[i - 1], delta.biases[L + i - 1]) = pair.weights[0], pair.biases
        delta = delta._replace(precisions=pair.precisions or delta.precisions)
        return delta, self.on_chains(states) + self.particles[i + 1 :], logged

    def states(self, x):
        """Data, flat, and the means of all hidden layers given it: [V, H1_hat, ..., HL_hat]."""
        V = tf.reshape(x, [-1, self.sizes[0]])
        return [V, *boltzmann.mean_field(self.machine.tensors(), V, self.mean_field_tolerance, self.mean_field_steps)]

    def test_step(self, x):
        """The losses of the whole machine, against the particles as they are."""
        theta, states = self.machine.tensors(), self.states(x)
        data, model = (boltzmann.statistics(each, self.is_real) for each in (states, self.particles))
        gap = boltzmann.inner(theta, model) - boltzmann.inner(theta, data)
        self.track({"machine": gap, **boltzmann.objectives(theta, states, data)})
        return self.logs()

    # --- Densities ---------------------------------------------------------------------------------------------------

    def unnormalized_bound(self, x):
        """A lower bound on log p(x) + log Z, in nats [batch]; equal to it for an RBM."""
        V, *mu = self.states(x)
        return boltzmann.bound(self.machine.tensors(), V, mu)

    # --- Serving -----------------------------------------------------------------------------------------------------

    def sample(self, seeds):
        """A draw of the data, given a state that annealing from independent units has led to."""
        return self.served_data(self.drawn(seeds, self.mean(self.annealed(seeds))))

    def sample_mean(self, seeds):
        """The mean of the data, of binary ones the probability of a one, given the state that `sample` draws from."""
        return self.served_data(self.mean(self.annealed(seeds)))

    def mean(self, logits):
        """The mean of the visible units by their input, which says its type."""
        return boltzmann.mean(self.machine.tensors(logits.dtype), logits, 0)

    def drawn(self, seeds, mean):
        """Visible units with this mean [batch, n0], given the hidden ones; row i draws by seeds[i]."""
        if not self.is_real:
            return noise.bernoulli_rows(seeds, mean, STREAM)
        (precision,) = self.precisions
        return tf.cast(mean, tf.float32) + noise.normal_rows(seeds, self.sizes[0], STREAM) * tf.math.rsqrt(precision)

    def served_data(self, V):
        return self.to_served(tf.reshape(V, [-1, *self.data_shape]))

    def inpaint(self, x, known, seeds):
        """Completes data, of which bool `known`, of their shape, says what is given: a draw, and its mean.

        The path is that of `sample` with the known numbers held, so that it ends near p(missing | known).
        """
        known, V = (tf.reshape(each, [-1, self.sizes[0]]) for each in (known, x))
        mean = tf.where(known, tf.cast(V, tf.float64), self.mean(self.annealed(seeds, known, V)))
        draw = tf.where(known, V, self.drawn(seeds, mean))
        return [self.served_data(values) for values in (draw, mean)]

    def encode(self, x):
        """Means of the hidden units, layer by layer, under the mean-field posterior."""
        return {f"h{i}": mean for i, mean in enumerate(self.states(x)[1:], start=1)}

    def reconstruct(self, x):
        """The mean of the data given the means of the first hidden layer that `encode` finds."""
        return self.served_data(self.mean(boltzmann.layer_input(self.machine.tensors(), self.states(x), 0)))

    def log_prob(self, x):
        """The variational bound, in nats, by an estimate of log Z before the export, which is too small in expectation.

        Under real units it is that of a density, of pixels as they are given, not dequantised.
        """
        return {"log_prob_lower_bound": self.unnormalized_bound(x) - self.log_z.value}

    def signatures(self):
        def of_data(method):
            return lambda **inputs: method(inputs[self.data_name])

        reconstruct = of_data(lambda x: {self.data_name: self.reconstruct(x)})
        means = {"encode": (of_data(self.encode), self.data_spec), "reconstruct": (reconstruct, self.data_spec)}
        scores = self.score_signature() if self.knows_log_z else {}
        return super().signatures() | means | self.inpaint_signature() | scores
