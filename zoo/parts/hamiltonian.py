"""Hamiltonian Monte Carlo: Markov chains that follow the gradient of a log-density, with step sizes that adapt.

Reference:
    R. M. Neal. MCMC using Hamiltonian dynamics. Handbook of Markov chain Monte Carlo, 2011. arXiv:1206.1901.
"""

import tensorflow as tf
import tensorflow_probability as tfp

# Step sizes follow the running mean of the acceptance rate (Wu et al. 2017, arXiv:1611.04273). Ours start from the
# largest, which suits the prior, where chains start; theirs from 0.01, and took 200 temperatures to grow to it.
TARGET_ACCEPTANCE = 0.65
SMALLEST_STEP_SIZE, LARGEST_STEP_SIZE = 1e-4, 0.5
STEP_SIZE_FACTOR, ACCEPTANCE_MEMORY = 1.02, 0.9


def transition(log_density, z, momentum, uniform, step_size, num_leapfrog_steps):
    """One transition, which leaves exp(log_density) unchanged (Neal 2011, section 5.3.2).

    Args:
        log_density: function of z that gives the logarithm [...] of a density, up to a constant.
        z: float [..., size], the chains.
        momentum, uniform: standard normal noise like z, and uniform noise [...].
        step_size: float tensor that broadcasts to [...].

    Returns:
        The chains after it, and the probability [...] with which each proposal was accepted.
    """
    proposal, step_size = z, step_size[..., None]
    log_p, gradient = tfp.math.value_and_gradient(log_density, z)
    start = log_p - 0.5 * tf.reduce_sum(momentum**2, -1)
    for _ in range(num_leapfrog_steps):
        momentum += 0.5 * step_size * gradient
        proposal += step_size * momentum
        log_p, gradient = tfp.math.value_and_gradient(log_density, proposal)
        momentum += 0.5 * step_size * gradient
    acceptance = tf.exp(tf.minimum(log_p - 0.5 * tf.reduce_sum(momentum**2, -1) - start, 0.0))
    acceptance = tf.where(tf.math.is_nan(acceptance), 0.0, acceptance)  # a trajectory that left the world
    return tf.where((uniform < acceptance)[..., None], proposal, z), acceptance


def adapt(step_size, recent, acceptance):
    """The next step size, and the running mean of the acceptance rate that it follows, float [...] both.

    At first they are `LARGEST_STEP_SIZE` and `TARGET_ACCEPTANCE`; `acceptance` is the last rate.
    """
    recent += (1.0 - ACCEPTANCE_MEMORY) * (acceptance - recent)
    factor = tf.where(recent > TARGET_ACCEPTANCE, STEP_SIZE_FACTOR, 1.0 / STEP_SIZE_FACTOR)
    return tf.clip_by_value(step_size * factor, SMALLEST_STEP_SIZE, LARGEST_STEP_SIZE), recent
