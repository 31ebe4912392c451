"""The deep belief network of Hinton, Osindero and Teh 2006: a Boltzmann machine on top of directed layers.

    p(x, h_1 ... h_L) = p(x|h_1) p(h_1|h_2) ... p(h_{L-2}|h_{L-1}) p(h_{L-1}, h_L),   the last by an RBM, the top one
    q(h_1 ... h_{L-1}|x) = q(h_1|x) q(h_2|h_1) ... q(h_{L-1}|h_{L-2})

    log p(x)  >=  E_q[log p(x|h_1) + ... + log p*(h_{L-1}) - log q(h_1 ... h_{L-1}|x)] - log Z

with p*(h_{L-1}) = sum over h_L of exp(-E(h_{L-1}, h_L)). Layers are zeros and ones. It learns in phases:

    greedy     for each layer in turn an RBM of h_{l-1} and h_l, data being draws h_{l-1} ~ q(h_{l-1}|x), by contrastive
               divergence or persistent chains. Its weights are those of p(h_{l-1}|h_l) and of q(h_l|h_{l-1}). The next
               one takes the place of its p(h_l): from this one upside down on, steps along the likelihood of draws
               h_l ~ q raise the bound. It starts from small random weights, of any number of units, all the same.
    up-down    wake: p learns from h ~ q(h|x), and the top RBM from h_{L-1}; sleep: q learns from dreams, drawn
               downwards from where Gibbs sampling has led the top RBM (Hinton et al. 2006, appendix B).

Notation, beside that of `autoencoder.py`:

    h          tuple of layers h_1 ... h_{L-1}, [..., batch, n_l], h_1 next to the data; h_0 is x
    R, c       weights and biases of q(h_l|h_{l-1});   G', b those of p(h_{l-1}|h_l), which share R = G until up-down
    Delta      what these move along, for each layer as of an RBM with the weights R and G and the biases b and c

The latent point z that is served is h_1: given it, the mean of x is known, which it is not from higher layers.

Departures: momentum carries a layer on after its phase. Replicas advance the same persistent chains; other chains are
where contrastive divergence ended, from which the annealing of log Z and of samples takes its base rates.
"""

import functools
import itertools
import math

import keras
import tensorflow as tf

from zoo.energy.energy_model import EnergyModel, Weights, tensor
from zoo.parts import boltzmann, distributions, estimators, gibbs, networks, noise
from zoo.parts.boltzmann import Machine
from zoo.parts.posteriors import BeliefNetwork
from zoo.variational.autoencoder import Autoencoder


def flat(x):
    return tf.reshape(x, [-1, math.prod(x.shape[1:])])


class DBN(EnergyModel, Autoencoder):
    """Deep belief network, for images of black and white pixels.

    Args:
        hidden_units: tuple of ints, sizes of the hidden layers, from the one next to the data; two at least.
        layer_steps: tuple of ints, steps of the RBM of each hidden layer, from below. Steps after them are up-down.
        gibbs_steps: int, k, Gibbs sweeps of an RBM at each step.
        persistent: bool, whether these go on from the last step's (PCD) and not from the data (CD-k).

    Example:

        model = DBN(data_shape=(28, 28, 1), hidden_units=(500, 2000), layer_steps=(6000, 6000))
        model.compile()
        model.fit(x, batch_size=100, epochs=20)  # x: float32 [n, 28, 28, 1], zeros and ones
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        G. E. Hinton, S. Osindero and Y. W. Teh. A fast learning algorithm for deep belief nets. Neural Computation 18,
        2006.
        R. Salakhutdinov and I. Murray. On the quantitative analysis of deep belief networks. ICML 2008.
        T. Tieleman. Training restricted Boltzmann machines using approximations to the likelihood gradient. ICML 2008.
    """

    shared_arguments = Autoencoder.shared_arguments | EnergyModel.shared_arguments
    default_optimizers = {"machine": {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9}}
    family = distributions.BERNOULLI
    latent_prior = None  # no density of real numbers
    interpolates = False

    def __init__(
        self, *, data_shape, hidden_units: tuple[int, ...] = (500, 2000),
        layer_steps: tuple[int, ...] = (30000, 60000), gibbs_steps: int = 1, persistent: bool = False,
        num_chains, sample_steps, log_z_betas, log_z_runs, inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if len(self.hidden_units) < 2:
            raise ValueError("hidden_units must have two layers at least: with one it is an RBM, which dbm is.")
        if len(self.layer_steps) != (num := len(self.hidden_units)):
            raise ValueError(f"layer_steps must have one element for each of the {num} hidden layers.")

    def make_networks(self):
        shapes = [self.data_shape, *((n,) for n in self.hidden_units[:-1])]
        normal = keras.initializers.RandomNormal(stddev=0.01)

        def linear(*shapes):
            return [networks.mlp(a, (), b, initializer=normal) for a, b in itertools.pairwise(shapes)]

        self.recognition, self.generator = linear(*shapes), linear(*reversed(shapes))
        for up, down in zip(self.recognition, reversed(self.generator), strict=True):
            down.trainable_variables[0].assign(tf.transpose(tensor(up.trainable_variables[0])))
        self.decoder = self.generator[-1]
        self.machine = Weights(self.hidden_units[-2:])
        self.make_chains((math.prod(self.data_shape), *self.hidden_units))

    @property
    def moves(self):
        return {"machine": [*self.recognition, *self.generator, self.machine]}

    @property
    def draws(self):
        directed = len(self.hidden_units) - 1
        return ("epsilon",) * directed + ("gibbs",) * (2 * self.gibbs_steps) + ("dream",) * directed

    # --- Densities ---------------------------------------------------------------------------------------------------

    @property
    def latent_size(self):
        return self.hidden_units[0]

    @property
    def has_proposal(self):
        return self.knows_log_z  # without which no bound is known

    def q(self, x, training=False):
        """q(h|x), whose draws are (h_1 ... h_{L-1})."""
        first, *others = self.recognition
        return BeliefNetwork(first(x), others)

    def p(self, z, training=False):
        """p(x|h_1), for h_1 [..., batch, latent_size] or, as `q` draws them, a tuple of all layers."""
        return super().p(z[0] if isinstance(z, tuple) else z, training=training)

    def directed(self, logits=None):
        """p(h_{L-2}, ..., x|h_{L-1}), after a first layer h_{L-1} with these logits."""
        return BeliefNetwork(tf.zeros(self.machine.b[0].shape) if logits is None else logits, self.generator)

    def log_joint(self, x, h):
        """log p(x, h_1 ... h_{L-1}) in nats [K, batch], by the log Z that is known."""
        p, states = self.directed(), (*reversed(h), x)
        below = tf.add_n([p.layer(i, states).log_prob(state) for i, state in enumerate(states) if i])
        return below + boltzmann.log_marginal(self.machine.tensors(), h[-1]) - self.log_z.value

    def unnormalized_bound(self, x):
        """A lower bound on log p(x) + log Z, in nats [batch], by one draw of q(h|x)."""
        return estimators.elbo(self.log_weights(x, 1)) + self.log_z.value

    def states(self, x):
        """Means of the top RBM's layers, as x leads to them."""
        below = self.q(x).mean()[-1]
        return [below, tf.sigmoid(boltzmann.layer_input(self.machine.tensors(), [below, None], 1))]

    # --- Learning ----------------------------------------------------------------------------------------------------

    def parameters(self):
        """For each layer those of its RBM: the weights [R, G] and biases [b, c], and at the top one W."""
        layers = []
        for up, down in zip(self.recognition, reversed(self.generator), strict=True):
            (R, c), (G, b) = ([tensor(v) for v in network.trainable_variables] for network in (up, down))
            layers.append(Machine([R, tf.transpose(G)], [b, c]))
        return [*layers, self.machine.tensors()]

    def weights_down(self):
        return [rbm.weights[-1] for rbm in self.parameters()]

    def train_step(self, x):
        return self.climb(self.layer_steps, self.phases(x))

    def test_step(self, x):
        """The losses of the phase that training is in."""
        delta, _, logged = self.in_phase(self.layer_steps, self.phases(x))
        self.track({"machine": -boltzmann.inner(self.parameters(), delta), **logged})
        return self.logs()

    def phases(self, x):
        greedy = [functools.partial(self.greedy, x, i) for i in range(len(self.hidden_units))]
        return [*greedy, functools.partial(self.up_down, x)]

    def greedy(self, x, i):
        """A step of the RBM of the hidden layer i, counted from 0, and the layer below it."""
        q, layers = self.q(x), self.parameters()
        h, _ = q.draw(noise.of_keys(q.noise[:i], [tf.shape(x)[0]], lambda j: self.key("epsilon", j)))
        rbm = Machine(layers[i].weights[:1], layers[i].biases)
        pair, states, logged = self.rbm_step(rbm, [flat(x), *h][i], i)
        delta = tf.nest.map_structure(tf.zeros_like, layers)
        delta[i] = Machine(pair.weights * len(layers[i].weights), pair.biases)  # of R, and of G, which is R
        return delta, states, logged

    def up_down(self, x):
        """A step of all layers: wake, contrastive divergence of the top RBM, and sleep."""
        q, p, (*layers, top) = self.q(x), self.directed(), self.parameters()
        h, log_q = q.draw(self.draw_noise(q, [tf.shape(x)[0]]))
        delta_top, chains, _ = self.rbm_step(top, h[-1], len(h))

        *_, dream, _ = chains  # from the top RBM's lower layer
        dreams = [dream]
        uniforms = noise.of_keys(p.noise[1:], [tf.shape(dream)[0]], lambda j: self.key("dream", j))
        for i, uniform in enumerate(uniforms, start=1):
            dreams.append(tf.cast(uniform < p.layer(i, dreams).mean(), tf.float32))

        awake, asleep, delta = [flat(x), *h], [flat(dreams.pop()), *reversed(dreams)], []
        for i, ((R, G), (b, c), _) in enumerate(layers):
            lower, upper = awake[i : i + 2]
            predicted = tf.sigmoid(b + tf.matmul(upper, G, transpose_b=True))
            wake = boltzmann.difference(*map(boltzmann.statistics, ([lower, upper], [predicted, upper])))
            lower, upper = asleep[i : i + 2]
            recognized = tf.sigmoid(c + lower @ R)
            sleep = boltzmann.difference(*map(boltzmann.statistics, ([lower, upper], [lower, recognized])))
            delta.append(Machine([*sleep.weights, *wake.weights], [wake.biases[0], sleep.biases[1]]))
        bound = self.log_joint(x, h) - log_q + self.log_z.value
        logged = {"reconstruction": -self.p(h).log_prob(x), "unnormalized_bound": bound}
        return [*delta, delta_top], chains, logged

    def rbm_step(self, rbm, x, i):
        """`gibbs.rbm_step` for the hidden layer i, and all chains after it."""
        h = tf.sigmoid(boltzmann.layer_input(rbm, [x, None], 1))
        chains = [tensor(chain) for chain in self.chains]
        keys = [[self.key("gibbs", 2 * k + j, self.persistent) for j in range(2)] for k in range(self.gibbs_steps)]
        delta, states, logged = gibbs.rbm_step(rbm, x, h, chains[i + 1] if self.persistent else h, keys)
        chains[i : i + 2] = self.on_chains(states)
        return delta, chains, logged

    # --- Serving -----------------------------------------------------------------------------------------------------

    def latent(self, seeds):
        """The layer h_1 [batch, latent_size] of zeros and ones that `sample` decodes, for each int64 seed [batch]:
        down from h_{L-1}, at the end of an annealed path of the top RBM.
        """
        p = self.directed(tf.cast(self.annealed(seeds), tf.float32))
        states, _ = p.draw(noise.of_rows(p.noise[:-1], seeds, noise.LATENT))
        return states[-1]

    def decode(self, z):
        """The mean of p(x|h_1 = z), served; of means z in [0, 1] that at the mean, as `reconstruct` shows it."""
        return super().decode(z)

    def encode(self, x, seeds=None):
        """Means of q(h_1|x), `z`, for served data x; of h_2, ... those given the means of the layer beneath."""
        return super().encode(x, seeds)
