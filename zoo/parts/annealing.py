"""Annealed importance sampling: the ratio of two normalising constants, along a path of densities between them.

    x_0 ~ p_0,   x_k ~ T_k(. | x_{k-1}), which leaves p_k unchanged,   p_k = f_k / Z_k,   k = 1 ... K
    log w = sum_k log f_k(x_{k-1}) - log f_{k-1}(x_{k-1}),   E[w] = Z_K / Z_0               (Neal 2001, equation 11)

log mean w falls short of log Z_K / Z_0 in expectation (Jensen), whatever the chains have missed. `anneal` is this loop
for any `Path`. Two are here: between Boltzmann machines, by Gibbs sampling; and from the prior of a decoder to the
posterior of x, by Hamiltonian Monte Carlo, where the ratio is p(x), and no encoder is needed.

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
from zoo.parts import estimators, gibbs, hamiltonian, noise
from zoo.parts.boltzmann import layer_input

# Who draws by keys: a machine's chains in both directions, and a decoder's.
FORWARD, BACKWARD, DECODER = (noise.ANNEALING + i for i in range(3))
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
    """`anneal` of all steps as a function (log_w, state, progress), which calls `progress`, if any, with the k done."""
    chunk = graph(lambda log_w, state, first, last: anneal(path, log_w, state, first, last))

    def run(log_w, state, progress=None):
        end = path.betas.shape[0] - 1
        for done in range(0, end, CHUNK):
            last = min(done + CHUNK, end)
            log_w, state = chunk(log_w, state, tf.constant(done + 1), tf.constant(last))
            if progress:
                progress(last)
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
        base: list of biases [n_l] of the machine without weights, of the same type.
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
            terms.append(tf.math.softplus(tempered(after)(logits, i)) - tf.math.softplus(tempered(before)(logits, i)))
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
        progress: function of the number of sweeps done so far, or None.
    """
    betas, shape = machine_betas(num_betas), [num_runs, sum(b.shape[-1] for b in base)]
    direction, sign = (FORWARD, 1.0) if samples is None else (BACKWARD, -1.0)

    def draw(k):
        return gibbs.sampler(noise.uniform(noise.key(seed, k, direction), shape), machine)

    if samples is None:
        samples = gibbs.independent(base, draw(0))
    else:
        betas = np.concatenate([np.ones(num_betas), betas[::-1]])
    run = compiled(machine_path(machine, base, betas, draw))
    log_w = run(tf.zeros(num_runs, tf.float64), samples, progress)[0].numpy()
    log_mean = float(estimators.iwae(log_w))
    log_z_base = sum(float(tf.reduce_sum(tf.math.softplus(tf.cast(b, tf.float64)))) for b in base)
    return LogZ(log_z_base + sign * log_mean, float(np.exp(log_w - log_mean).std() / np.sqrt(num_runs)))


# --- Decoders ---------------------------------------------------------------------------------------------------------


def decoder_betas(num_temperatures, delta=4.0):
    """float32 [num_temperatures + 1]: a sigmoid on [-delta, delta], stretched to [0, 1] (Wu et al. 2017, 4.2)."""
    sigmoid = 1.0 / (1.0 + np.exp(-np.linspace(-delta, delta, num_temperatures + 1)))
    return ((sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])).astype(np.float32)


def decoder_log_weights(
    prior, log_likelihood, latent_size, *, num_chains=16, num_temperatures=1000, num_leapfrog_steps=10, seed=0
):
    """A function that anneals chains from the prior into the posterior of each example, through p(z) p(x|z)^beta.

    The step size of an example follows the acceptance rate of its chains. (Adapted on the way, as in Wu et al. 2017, it
    depends on their past, so that the mean of w is no longer p(x) to the letter.)

    It is called with (x, batch, progress) and returns log w [chains, examples] in nats and the mean acceptance rate.
    `batch` is an int that tells apart batches whose noise is to differ, `progress` is told the temperatures done.

    Args:
        prior: `zoo.parts.distributions.Prior`, p(z).
        log_likelihood: function of x [examples, ...] and z [chains, examples, latent_size] that gives log p(x|z).
        num_chains, num_temperatures, num_leapfrog_steps: ints, chains, K and the length of a trajectory.
    """
    log_prior = prior.density(latent_size).log_prob

    def key(batch, k, position=0):
        return noise.key(seed, batch * (num_temperatures + 1) + tf.cast(k, tf.int64), DECODER, position)

    # A state is (x, batch, z, step_size, recent, rates): what stays, then z [chains, examples, latent_size], and what
    # `hamiltonian.adapt` makes of acceptance rates, and their sum, all [examples].

    def change(state, before, after):
        x, _, z, *_ = state
        return (after - before) * log_likelihood(x, z)

    def transition(state, k, beta):
        x, batch, z, step_size, recent, rates = state
        momentum, uniform = noise.normal(key(batch, k), tf.shape(z)), noise.uniform(key(batch, k, 1), tf.shape(z)[:-1])
        z, acceptance = hamiltonian.transition(
            lambda z: log_prior(z) + beta * log_likelihood(x, z), z, momentum, uniform, step_size, num_leapfrog_steps
        )
        rate = tf.reduce_mean(acceptance, axis=0)
        return x, batch, z, *hamiltonian.adapt(step_size, recent, rate), rates + rate

    run = compiled(Path(tf.constant(decoder_betas(num_temperatures)), change, transition))

    def log_weights(x, batch=0, progress=None):
        num, batch = len(x), tf.constant(batch, tf.int64)
        z = prior.draw(key(batch, 0), [num_chains, num, latent_size])
        step_size, recent = tf.fill([num], hamiltonian.LARGEST_STEP_SIZE), tf.fill([num], hamiltonian.TARGET_ACCEPTANCE)
        state = (tf.convert_to_tensor(x), batch, z, step_size, recent, tf.zeros([num]))
        log_w, (*_, rates) = run(tf.zeros([num_chains, num]), state, progress)
        return log_w, tf.reduce_mean(rates) / num_temperatures

    return log_weights
