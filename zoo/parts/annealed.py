"""Annealed importance sampling of log p(x) in latent-variable models, by Hamiltonian Monte Carlo over z.

From the prior to the posterior, through f_t(z) = p(z) p(x|z)^beta_t with 0 = beta_0 < ... < beta_T = 1:

    z_0 ~ p(z),   z_t ~ K_t(. | z_{t-1}), which leaves f_t unchanged
    log w = sum_t (beta_t - beta_{t-1}) log p(x | z_{t-1}),   E[w] = p(x)                       (Neal 2001, equation 11)

log 1/C sum_c w_c over C chains is below log p(x) in expectation, whatever the chains have missed. Unlike a bound by
importance sampling it needs no encoder.

References:
    R. M. Neal. Annealed importance sampling. Statistics and Computing 11, 2001. arXiv:physics/9803008.
    Y. Wu, Y. Burda, R. Salakhutdinov and R. Grosse. On the quantitative analysis of decoder-based generative models.
        ICLR 2017. arXiv:1611.04273.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from zoo.parts import noise

# As in Wu et al. 2017, step sizes follow the running mean of the acceptance rate. Ours start from the largest, which
# suits the prior, where the chains start; theirs started from 0.01 and took 200 temperatures to grow to it.
TARGET_ACCEPTANCE = 0.65
SMALLEST_STEP_SIZE, LARGEST_STEP_SIZE = 1e-4, 0.5
STEP_SIZE_FACTOR = 1.02
ACCEPTANCE_MEMORY = 0.9


def sigmoid_schedule(num_temperatures, delta=4.0):
    """beta_0 .. beta_T as float32 [T + 1]: a sigmoid on [-delta, delta], moved and stretched to run from 0 to 1.

    Small steps near both ends, where the distributions change most (Wu et al. 2017, section 4.2).
    """
    sigmoid = 1.0 / (1.0 + np.exp(-np.linspace(-delta, delta, num_temperatures + 1)))
    return ((sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])).astype(np.float32)


def hamiltonian_step(log_density, z, momentum, uniform, step_size, num_leapfrog_steps):
    """One transition of Hamiltonian Monte Carlo, which leaves exp(log_density) unchanged (Neal 2011, section 5.3.2).

    Args:
        log_density: function of z that gives the logarithm [...] of a density, up to a constant.
        z: float [..., size], the chains.
        momentum: standard normal noise like z.
        uniform: uniform noise [...].
        step_size: float, broadcast to [...].
        num_leapfrog_steps: int.

    Returns:
        The chains after it, and the probability [...] with which each proposal was accepted.
    """
    step_size = step_size[..., None]
    log_p, gradient = tfp.math.value_and_gradient(log_density, z)
    start = log_p - 0.5 * tf.reduce_sum(momentum**2, -1)
    proposal = z
    for _ in range(num_leapfrog_steps):
        momentum += 0.5 * step_size * gradient
        proposal += step_size * momentum
        log_p, gradient = tfp.math.value_and_gradient(log_density, proposal)
        momentum += 0.5 * step_size * gradient
    acceptance = tf.exp(tf.minimum(log_p - 0.5 * tf.reduce_sum(momentum**2, -1) - start, 0.0))
    acceptance = tf.where(tf.math.is_nan(acceptance), 0.0, acceptance)  # a trajectory that left the world
    return tf.where((uniform < acceptance)[..., None], proposal, z), acceptance


def sampler(prior, log_likelihood, latent_size, *, num_chains=16, num_temperatures=1000, num_leapfrog_steps=10, seed=0):
    """A function that anneals chains from the prior into the posterior of each example.

    Each example has a step size of its own, which follows the acceptance rate of its chains. (Adapted on the way, as
    in the paper, it depends on the past of the chains, so that the mean of w is no longer p(x) to the letter.)

    Args:
        prior: `zoo.parts.distributions.Prior`, p(z).
        log_likelihood: function of x [examples, ...] and z [chains, examples, latent_size] that gives log p(x|z).
        latent_size: int.
        num_chains, num_temperatures, num_leapfrog_steps: ints, C, T and the length of a trajectory.
        seed: int, the seed of all noise.

    Returns:
        Function of x, of an int below 2**12 that tells apart batches whose noise is to differ, and of a function that
        is called with t after temperature t = 1 .. T; it returns log w [chains, examples] in nats and the mean
        acceptance rate.
    """
    log_prior = prior.density(latent_size).log_prob
    betas = tf.constant(sigmoid_schedule(num_temperatures))

    @tf.function(reduce_retracing=True)
    def anneal(t, batch, x, z, log_w, step_size, recent_acceptance, sum_acceptance):
        log_w += (betas[t] - betas[t - 1]) * log_likelihood(x, z)
        keys = noise.keys(seed, t, batch, 2)
        z, acceptance = hamiltonian_step(
            lambda z: log_prior(z) + betas[t] * log_likelihood(x, z),
            z,
            noise.normal(keys[0], tf.shape(z)),
            noise.uniform(keys[1], tf.shape(log_w)),
            step_size,
            num_leapfrog_steps,
        )
        acceptance = tf.reduce_mean(acceptance, axis=0)
        recent_acceptance += (1.0 - ACCEPTANCE_MEMORY) * (acceptance - recent_acceptance)
        factor = tf.where(recent_acceptance > TARGET_ACCEPTANCE, STEP_SIZE_FACTOR, 1.0 / STEP_SIZE_FACTOR)
        step_size = tf.clip_by_value(step_size * factor, SMALLEST_STEP_SIZE, LARGEST_STEP_SIZE)
        return z, log_w, step_size, recent_acceptance, sum_acceptance + acceptance

    def log_weights(x, batch=0, progress=lambda t: None):
        num = len(x)
        z = prior.draw(noise.keys(seed, 0, batch, 1)[0], [num_chains, num, latent_size])
        state = (z, tf.zeros([num_chains, num]), tf.fill([num], LARGEST_STEP_SIZE))
        state += (tf.fill([num], TARGET_ACCEPTANCE), tf.zeros([num]))
        for t in range(1, num_temperatures + 1):
            state = anneal(tf.constant(t), tf.constant(batch), x, *state)
            progress(t)
        return state[1], tf.reduce_mean(state[4]) / num_temperatures

    return log_weights
