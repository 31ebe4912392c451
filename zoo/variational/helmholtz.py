"""The Helmholtz machine: a sigmoid belief network, and a recognition network that inverts it.

    p(x, h) = p(h_L) p(h_{L-1}|h_L) ... p(h_1|h_2) p(x|h_1),   q(h|x) = q(h_1|x) q(h_2|h_1) ... q(h_L|h_{L-1})

All layers are zeros and ones, independent given the layer that they are conditioned on, with logits that are linear in
it; those of h_L in p are numbers. Binary units have no reparameterisation; the algorithms differ in how phi learns:

    wake_sleep      wake: theta ascends E_{q(h|x)}[log p(x, h)]; sleep: phi ascends E_{p(x, h)}[log q(h|x)], that is
                    descends E_{p(x)} KL(p(h|x) || q(h|x)), which is not the gap of the bound that theta climbs.
    reweighted      theta ascends sum_k w~_k log p(x, h_k), w~ constant, whose gradient is that of the bound with K
                    draws, log 1/K sum_k w_k; phi ascends sum_k w~_k log q(h_k|x) (wake), as in sleep, or half of both.
    score_function  theta and phi ascend the ELBO, phi by E_q[(log w - b) grad log q(h|x)], whatever b is that does not
                    depend on h: REINFORCE. Of b = C(x) + c and the scale, see `signal`.

Notation, beside that of `autoencoder.py`:

    h          tuple of layers h_1 ... h_L, [K, batch, hidden_units[l - 1]], h_1 next to the data
    x~, h~     a dream, (x~, h~) ~ p, one for each row of x
    w_k        weights p(x, h_k) / q(h_k|x), h_k ~ q(h|x), k = 1 ... K;   w~_k = w_k / sum_j w_j
    theta, phi weights of p (generator) and of q (recognition)
    C, c, v    baseline network C_psi(x); moving mean and variance of log w - C(x)

The latent point z that is served is h_1: given it, the mean of x is known, which it is not from higher layers. A
reconstruction decodes the means of q(h_1|x). There are no points between zeros and ones to interpolate on.

Departures: wake and sleep happen at once, with weights from before both. NVIL's layers share one signal, and c and v
are those of the steps before, so that they do not depend on h; the first step takes its own.
"""

import itertools
from typing import Literal

import tensorflow as tf

from zoo.parts import distributions, estimators, networks, noise
from zoo.parts.layers import Numbers
from zoo.parts.posteriors import BeliefNetwork
from zoo.variational.autoencoder import Autoencoder

DECAY = 0.8  # of c and v, that of Mnih and Gregor 2014


class Helmholtz(Autoencoder):
    """Helmholtz machine (Dayan et al. 1995), by wake-sleep, reweighted wake-sleep, or score-function gradients (NVIL).

    Args:
        hidden_units: tuple of ints, units in each layer of h, from the one next to the data.
        algorithm: "wake_sleep", "reweighted" or "score_function".
        num_samples: int, K, draws of h for each example. But for "reweighted", objectives are means over them.
        recognition_phase: "wake", "sleep" or "both", when the recognition network learns (reweighted).
        centered: bool, whether the learning signal loses its moving mean, c (score_function).
        normalized: bool, whether it is divided by its moving deviation, where that is above 1 (score_function).
        baseline_units: tuple of ints, hidden layers of the baseline C(x); empty for no baseline (score_function).

    Example:

        model = Helmholtz(data_shape=(28, 28, 1), hidden_units=(200,), algorithm="reweighted", num_samples=5)
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1], zeros and ones
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        G. E. Hinton, P. Dayan, B. J. Frey and R. M. Neal. The wake-sleep algorithm for unsupervised neural networks.
        Science 268, 1995.
        J. Bornschein and Y. Bengio. Reweighted wake-sleep. ICLR 2015. arXiv:1406.2751.
        A. Mnih and K. Gregor. Neural variational inference and learning in belief networks. ICML 2014.
        arXiv:1402.0030, algorithm 1.
    """

    default_optimizers = {
        move: {"optimizer": "adam", "learning_rate": 1e-3} for move in ("generator", "recognition", "baseline")
    }
    metric_names = ("elbo",)
    family = distributions.BERNOULLI
    latent_prior = None  # no density of real numbers: p(h_1) is a sum over the layers above
    interpolates = False

    def __init__(
        self, *, data_shape, hidden_units: tuple[int, ...] = (200,),
        algorithm: Literal["wake_sleep", "reweighted", "score_function"] = "wake_sleep", num_samples: int = 1,
        recognition_phase: Literal["wake", "sleep", "both"] = "both",
        centered: bool = True, normalized: bool = True, baseline_units: tuple[int, ...] = (100,),
        inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if not self.hidden_units:
            raise ValueError("hidden_units must not be empty: the machine has a layer of latents at least.")

    def make_networks(self):
        def linear(*shapes):
            return [networks.mlp(before, (), after) for before, after in itertools.pairwise(shapes)]

        layers = [(n,) for n in self.hidden_units]
        self.recognition = linear(self.data_shape, *layers)
        self.top = Numbers("top", logits=[0.0] * self.hidden_units[-1])
        self.generator = linear(*reversed(layers), self.data_shape)
        self.decoder = self.generator[-1]
        self.moments = self.C = None
        if self.algorithm == "score_function":
            self.moments = Numbers("moments", trainable=False, mean=0.0, variance=0.0)
            if self.baseline_units:
                self.C = networks.mlp(self.data_shape, self.baseline_units, (1,), activation="tanh")

    @property
    def moves(self):
        recognition = self.recognition if self.moments is None else [*self.recognition, self.moments]
        baseline = {} if self.C is None else {"baseline": [self.C]}
        return {"generator": [self.top, *self.generator], "recognition": recognition, **baseline}

    @property
    def draws(self):
        return ("epsilon",) * len(self.hidden_units) + ("dream",) * (len(self.hidden_units) + 1)

    # --- Densities ---------------------------------------------------------------------------------------------------

    @property
    def latent_size(self):
        return self.hidden_units[0]

    def q(self, x, training=False):
        """q(h|x), whose draws are (h_1 ... h_L)."""
        first, *others = self.recognition
        return BeliefNetwork(first(x), others)

    def p(self, z, training=False):
        """p(x|h_1), for h_1 [..., batch, latent_size] or, as `q` draws them, a tuple of all layers."""
        return super().p(z[0] if isinstance(z, tuple) else z, training=training)

    @property
    def joint(self):
        """p(x, h), whose draws are (h_L ... h_1, x)."""
        return BeliefNetwork(tf.convert_to_tensor(self.top.logits.value), self.generator)

    def log_joint(self, x, h):
        """log p(x, h) in nats [K, batch]."""
        return self.joint.log_prob((*reversed(h), x))

    # --- Learning ----------------------------------------------------------------------------------------------------

    def wake(self, x):
        """log q(h_k|x) and log w_k of K draws h_k ~ q(h|x), in nats [K, batch]."""
        q = self.q(x)
        h, log_q = q.draw(self.draw_noise(q, [self.num_samples, tf.shape(x)[0]]))
        return log_q, self.log_joint(x, h) - log_q

    def sleep(self, x):
        """-log q(h~|x~) in nats [batch], of as many dreams as there are rows in x."""
        p = self.joint
        (*h, dream), _ = p.draw(self.draw_noise(p, [tf.shape(x)[0]], "dream"))
        return -self.q(dream).log_prob(h[::-1])

    def wake_sleep(self, x, training):
        _, log_w = self.wake(x)
        elbo = estimators.elbo(log_w)
        return {"generator": -elbo, "recognition": self.sleep(x), "elbo": elbo}

    def reweighted(self, x, training):
        log_q, log_w = self.wake(x)
        w = tf.stop_gradient(tf.nn.softmax(log_w, axis=0))
        phases = {"wake": lambda: -tf.reduce_sum(w * log_q, axis=0), "sleep": lambda: self.sleep(x)}
        chosen = [phase() for name, phase in phases.items() if self.recognition_phase in (name, "both")]
        recognition = tf.add_n(chosen) / len(chosen)
        # By theta, the gradient of log 1/K sum_k w_k is sum_k w~_k grad log p(x, h_k).
        return {"generator": -estimators.iwae(log_w), "recognition": recognition, "elbo": estimators.elbo(log_w)}

    def score_function(self, x, training):
        log_q, log_w = self.wake(x)
        C = 0.0 if self.C is None else self.C(x)[:, 0]
        residual, scale = self.signal(tf.stop_gradient(log_w) - C, training)
        surrogate = -tf.reduce_mean(tf.stop_gradient(residual / scale) * log_q, axis=0)  # with the gradient by phi
        baseline = {} if self.C is None else {"baseline": tf.square(residual) / (2.0 * scale)}
        elbo = estimators.elbo(log_w)
        return {"generator": -elbo, "recognition": surrogate, "elbo": elbo, **baseline}

    def signal(self, residual, training):
        """log w - C(x) - c in nats [K, batch], and max(1, sqrt(v)), which divides it (Mnih and Gregor 2014, 3.1)."""
        averages = [self.moments.mean, self.moments.variance]
        now = tf.nn.moments(tf.stop_gradient(residual), axes=[0, 1])
        c, v = (tf.where(self.step.value == 0, new, old.value) for new, old in zip(now, averages, strict=True))
        if training:
            for average, before, new in zip(averages, (c, v), now, strict=True):
                average.assign(DECAY * before + (1.0 - DECAY) * new)
        return residual - c if self.centered else residual, tf.maximum(1.0, tf.sqrt(v)) if self.normalized else 1.0

    def train_step(self, x):
        algorithm = getattr(self, self.algorithm)
        self.minimize(lambda: algorithm(x, training=True))  # theta and phi (and psi) move at once
        return self.next_step()

    def test_step(self, x):
        self.track(getattr(self, self.algorithm)(x, training=False))
        return self.logs()

    # --- Serving -----------------------------------------------------------------------------------------------------

    def latent(self, seeds):
        """The layer h_1 [batch, latent_size] of zeros and ones that `sample` decodes, for each int64 seed [batch]."""
        hidden = self.joint.noise[:-1]
        states, _ = self.joint.draw(noise.of_rows(hidden, seeds, noise.LATENT))  # layer by layer from the top
        return states[-1]

    def decode(self, z):
        """The mean of p(x|h_1 = z), served; of means z in [0, 1] that at the mean, as `reconstruct` shows it."""
        return super().decode(z)

    def encode(self, x, seeds=None):
        """Means of q(h_1|x), `z`, for served data x; of h_2, ... those given the means of the layer beneath."""
        return super().encode(x, seeds)
