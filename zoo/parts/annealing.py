"""Annealed importance sampling: the ratio of two normalising constants, along a path of densities between them.

    x_0 ~ p_0,   x_k ~ T_k(. | x_{k-1}), which leaves p_k unchanged,   p_k = f_k / Z_k,   k = 1 ... K
    log w = sum_k log f_k(x_{k-1}) - log f_{k-1}(x_{k-1}),   E[w] = Z_K / Z_0               (Neal 2001, equation 11)

log mean w falls short of log Z_K / Z_0 in expectation (Jensen), whatever the chains have missed. `anneal` is this loop
for any `Path`. Two are here, and back again: between Boltzmann machines, by Gibbs sampling; and from the prior of a
decoder to the posterior of x, by Hamiltonian Monte Carlo, where the ratio is p(x), and no encoder is needed.

References:
    R. M. Neal. Annealed importance sampling. Statistics and Computing 11, 2001. arXiv:physics/9803008.
    R. Salakhutdinov and I. Murray. On the quantitative analysis of deep belief networks. ICML 2008.
    Y. Wu, Y. Burda, R. Salakhutdinov and R. Grosse. On the quantitative analysis of decoder-based generative models.
        ICLR 2017. arXiv:1611.04273.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from common.graph import graph
from zoo.parts import boltzmann, estimators, gibbs, hamiltonian, noise
from zoo.parts.boltzmann import layer_input

# Who draws by keys: chains in both directions, and those that find step sizes for them.
FORWARD, BACKWARD, PILOT = (noise.ANNEALING + i for i in range(3))
# What finds step sizes: so many chains for each example, with so many transitions at least, on paths however short.
PILOT_CHAINS, PILOT_TRANSITIONS = 4, 200
CHUNK = 25  # transitions in one call of compiled code: few enough to see progress, and enough for calls to cost little


class Path(NamedTuple):
    """Densities f_0 ... f_K and transitions between them.

    betas: float [K + 1], where on the path each density is.
    change: function (state, beta, next beta) -> the logarithm of the ratio of the next density to this one.
    transition: function (state, k, betas[k]) -> state, that leaves p_k unchanged. A state is a nest of tensors.
    """

    betas: tf.Tensor
    change: Callable
    transition: Callable


def anneal(path, log_w, state, first=1, last=None):
    """The steps k = `first` ... `last` (without it, K): (log_w, state) after them. A loop that can be traced.

    `log_w` are the log-weights of the chains so far, at first zeros; `state` is a draw from p_{first - 1}. The steps
    are ints or scalar int32 tensors.
    """
    last = path.betas.shape[0] - 1 if last is None else last

    def step(k, log_w, state):
        log_w += path.change(state, path.betas[k - 1], path.betas[k])
        after = path.transition(state, k, path.betas[k])
        # Random numbers of a dynamic shape have no static one, and a loop insists that nothing loses its own.
        return k + 1, log_w, tf.nest.map_structure(lambda a, b: tf.ensure_shape(a, b.shape), after, state)

    return tf.while_loop(lambda k, *_: k <= last, step, (first, log_w, state))[1:]


def compiled(path):
    """`anneal` of all steps as a function (log_w, state, progress); `progress`, if any, is told how many were done."""
    chunk = graph(lambda log_w, state, first, last: anneal(path, log_w, state, first, last))

    def run(log_w, state, progress=None):
        end = path.betas.shape[0] - 1
        for done in range(0, end, CHUNK):
            last = min(done + CHUNK, end)
            log_w, state = chunk(log_w, state, tf.constant(done + 1), tf.constant(last))
            if progress:
                progress(last - done)
        return log_w, state

    return run


# --- Boltzmann machines -----------------------------------------------------------------------------------------------


def machine_betas(num_betas):
    """float64 [num_betas + 1], from 0 to 1, densest near 1, as in Salakhutdinov and Murray 2008, section 6."""
    return np.interp(np.linspace(0.0, 29.0, num_betas + 1), [0.0, 1.0, 9.0, 29.0], [0.0, 0.5, 0.9, 1.0])


def machine_path(machine, base, betas, draw):
    """The geometric path from a machine without weights to this one, or back.

        p_beta(x) ~ exp(-(1 - beta) E_base(x) - beta E(x))

    The Markov chain lives on the odd layers, all even ones being summed out (and not read): fewer variables, less
    variance. Log-weights are float64. (Salakhutdinov and Murray 2008, section 4.1.)

    Args:
        machine: `Machine` of float32 or float64 tensors.
        base: list of biases [n_l] of the machine without weights, of the same type. Real units keep their precisions.
        betas: float [K + 1], rising from where the states are drawn, or falling from there.
        draw: function k -> `draw` of the sweep at betas[k], as `gibbs.sampler` gives it.
    """

    def tempered(beta):
        return lambda logits, layer: base[layer] + beta * (logits - base[layer])

    def change(states, before, after):
        # Differences unit by unit: sums would lose digits before they are subtracted.
        terms = [(after - before) * states[i] * (machine.biases[i] - base[i]) for i in range(1, len(states), 2)]
        for i in range(0, len(states), 2):
            logits = layer_input(machine, states, i)
            new, old = (boltzmann.log_normalizer(machine, tempered(b)(logits, i), i) for b in (after, before))
            terms.append(new - old)
        return tf.add_n([tf.cast(tf.reduce_sum(term, axis=-1), tf.float64) for term in terms])

    def transition(states, k, beta):
        return gibbs.sweep(machine, states, draw(k), tempered(beta))

    return Path(tf.cast(betas, base[0].dtype), change, transition)


class LogZ(NamedTuple):
    value: float  # an estimate of log Z in nats
    standard_error: float  # by the spread of the runs: that of w over its mean (the delta method)


def estimate_log_z(machine, base, *, num_betas, num_runs, seed, samples=None, progress=None):
    """`LogZ` by annealed importance sampling between `base` and the machine.

    Forward, E[w] = Z / Z_base: the estimate is too small in expectation, and a log-likelihood measured with it is too
    high. Given `samples` of the machine it goes backward, E[w] = Z_base / Z, and errs the other way; that is a promise
    only as far as they are samples, wherefore it sets out with `num_betas` sweeps that leave p(x) as it is.
    (Bidirectional Monte Carlo, Grosse et al. 2015, arXiv:1511.02543.)

    Args:
        machine, base: as for `machine_path`.
        num_betas, num_runs: ints, steps of the path, and chains side by side, each from one of the samples, if any.
        progress: function of the number of sweeps done since it was called last, or None.

    Raises:
        ValueError: for a single run, which has no spread and so no standard error.
    """
    if num_runs < 2:
        raise ValueError(f"the spread of runs is the error of log Z: give 2 runs or more, not {num_runs}.")
    betas, of_sweep = machine_betas(num_betas), gibbs.noise_of(machine)
    direction, sign = (FORWARD, 1.0) if samples is None else (BACKWARD, -1.0)

    def draw(k):
        of_runs = noise.of_keys(of_sweep, [num_runs], lambda j: noise.key(seed, k, direction, j))
        return gibbs.sampler(of_runs, machine)

    if samples is None:
        samples = gibbs.independent(machine._replace(biases=base), draw(0))
    else:
        betas = np.concatenate([np.ones(num_betas), betas[::-1]])
    run = compiled(machine_path(machine, base, betas, draw))
    log_w = run(tf.zeros(num_runs, tf.float64), samples, progress)[0].numpy()
    log_mean = float(estimators.iwae(log_w))
    wide = tf.nest.map_structure(lambda a: tf.cast(a, tf.float64), machine._replace(weights=[], biases=base))
    log_z_base = sum(float(tf.reduce_sum(boltzmann.log_normalizer(wide, b, i))) for i, b in enumerate(wide.biases))
    return LogZ(log_z_base + sign * log_mean, float(np.exp(log_w - log_mean).std(ddof=1) / np.sqrt(num_runs)))


# --- Decoders ---------------------------------------------------------------------------------------------------------


def decoder_betas(num_temperatures, delta=4.0):
    """float32 [num_temperatures + 1]: a sigmoid on [-delta, delta], stretched to [0, 1] (Wu et al. 2017, 4.2)."""
    sigmoid = 1.0 / (1.0 + np.exp(-np.linspace(-delta, delta, num_temperatures + 1)))
    return ((sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])).astype(np.float32)


class DecoderAnnealing:
    """Chains between the prior of a decoder and the posterior of each example, through p(z) p(x|z)^beta, both ways.

    Forward, E[w] = p(x), and backward from draws of p(z|x), E[w] = 1 / p(x), to the letter: transitions have step sizes
    that were found beforehand, by other chains. (Wu et al. 2017 adapt them on the way: they then depend on the past of
    the chains, and E[w] is another.) Both directions have the same transitions, each its own reverse, so that the mean
    of -log w backward less that of log w forward is the Jeffreys divergence between the chains of both directions
    (Grosse et al. 2015, arXiv:1511.02543): the smaller, the more temperatures there are.

    Methods take `batch`, an int that tells apart batches whose noise is to differ, and `progress`, a function or None,
    which is told how many transitions were done since it was called last.

    Args:
        prior: `zoo.parts.distributions.Prior`, p(z).
        log_likelihood: function of x [examples, ...] and z [chains, examples, latent_size] that gives log p(x|z).
        num_chains, num_temperatures, num_leapfrog_steps: ints, chains, K and the length of a trajectory.
    """

    def __init__(
        self, prior, log_likelihood, latent_size, *, num_chains=16, num_temperatures=1000, num_leapfrog_steps=10, seed=0
    ):
        self.prior, self.log_prior = prior, prior.density(latent_size).log_prob
        self.log_likelihood, self.latent_size, self.seed = log_likelihood, latent_size, seed
        self.num_chains, self.num_leapfrog_steps = num_chains, num_leapfrog_steps
        self.visits = -(-PILOT_TRANSITIONS // num_temperatures)  # of each temperature by the pilot chains
        self.num_transitions, self.num_pilot_transitions = num_temperatures, num_temperatures * self.visits
        betas = decoder_betas(num_temperatures)
        self._pilot = compiled(self._path(np.append(betas[0], np.repeat(betas[1:], self.visits)), PILOT))
        self._forward = compiled(self._path(betas, FORWARD))
        self._backward = compiled(self._path(betas[::-1], BACKWARD))

    def step_sizes(self, x, batch=0, progress=None):
        """Step sizes [K + 1, examples] at every temperature, which a few chains find on their way from the prior.

        At each temperature they set out with the one that they left the last temperature with.
        """
        sizes = tf.fill([self.num_pilot_transitions + 2, len(x)], hamiltonian.LARGEST_STEP_SIZE)
        _, (*_, sizes, _) = self._run(self._pilot, x, batch, self._draw(x, batch, PILOT_CHAINS, PILOT), sizes, progress)
        return sizes[1 :: self.visits]

    def log_weights(self, x, step_sizes, batch=0, samples=None, progress=None):
        """log w in nats, float64 [chains, examples], and the mean acceptance rate.

        Args:
            step_sizes: those of `step_sizes` for x, which must not depend on `samples`.
            samples: z [examples, latent_size], a draw of p(z|x) for each example, from which all its chains go
                backward (the weight of each has the mean 1 / p(x), though they are not independent); or None.
        """
        if samples is None:
            run, z = self._forward, self._draw(x, batch, self.num_chains, FORWARD)
        else:
            run, z, step_sizes = self._backward, tf.tile(samples[None], [self.num_chains, 1, 1]), step_sizes[::-1]
        log_w, (*_, rates) = self._run(run, x, batch, z, step_sizes, progress)
        return log_w, tf.reduce_mean(rates) / self.num_transitions

    def _draw(self, x, batch, num_chains, use):
        return self.prior.draw(self._key(batch, 0, use), [num_chains, len(x), self.latent_size])

    def _key(self, batch, k, use, position=0):
        num = 1 + (self.num_pilot_transitions if use == PILOT else self.num_transitions)
        return noise.key(self.seed, tf.cast(batch, tf.int64) * num + tf.cast(k, tf.int64), use, position)

    # A state is (x, batch, z, step_sizes, rates): the chains z [chains, examples, latent_size], the step size of each
    # transition (of the pilot chains, as far as they have found them), and the sum of acceptance rates so far.

    def _run(self, run, x, batch, z, step_sizes, progress):
        state = (tf.convert_to_tensor(x), tf.constant(batch, tf.int64), z, step_sizes, tf.zeros([len(x)]))
        return run(tf.zeros(z.shape[:2], tf.float64), state, progress)

    def _path(self, betas, use):
        def change(state, before, after):
            x, _, z, *_ = state
            return tf.cast((after - before) * self.log_likelihood(x, z), tf.float64)

        def transition(state, k, beta):
            x, batch, z, sizes, rates = state
            momentum = noise.normal(self._key(batch, k, use), tf.shape(z))
            uniform = noise.uniform(self._key(batch, k, use, 1), tf.shape(z)[:-1])
            z, acceptance = hamiltonian.transition(
                lambda z: self.log_prior(z) + beta * self.log_likelihood(x, z),
                z, momentum, uniform, sizes[k], self.num_leapfrog_steps,
            )  # fmt: skip
            rate = tf.reduce_mean(acceptance, axis=0)
            if use == PILOT:
                sizes = tf.tensor_scatter_nd_update(sizes, [[k + 1]], [hamiltonian.adapt(sizes[k], rate)])
            return x, batch, z, sizes, rates + rate

        return Path(tf.constant(betas), change, transition)
