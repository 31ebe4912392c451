"""Hamiltonian Monte Carlo: Markov chains that follow the gradient of a log-density, and step sizes for them.

References:
    R. M. Neal. MCMC using Hamiltonian dynamics. Handbook of Markov chain Monte Carlo, 2011. arXiv:1206.1901.
    C. Andrieu and J. Thoms. A tutorial on adaptive MCMC. Statistics and Computing 18, 2008.
"""

import tensorflow as tf
import tensorflow_probability as tfp

# Step sizes are to meet an acceptance rate within these bounds (Wu et al. 2017, arXiv:1611.04273). Ours start from the
# largest, which suits the prior, where chains start.
TARGET_ACCEPTANCE = 0.65
SMALLEST_STEP_SIZE, LARGEST_STEP_SIZE = 1e-4, 0.5
# The mean acceptance of 4 chains scatters by 0.2, and step sizes by 6 %; where all proposals are refused, they shrink
# tenfold in 18 transitions.
ADAPTATION_RATE = 0.2


def transition(log_density, z, momentum, uniform, step_size, num_leapfrog_steps):
    """One transition, which leaves exp(log_density) unchanged (Neal 2011, section 5.3.2).

    It is in detailed balance with that density, for any fixed step size: it is its own reverse.

    Args:
        log_density: function of z that gives the logarithm [...] of a density, up to a constant.
        z: float [..., size], the chains.
        momentum, uniform: standard normal noise like z, and uniform noise [...].
        step_size: float tensor that broadcasts to [...].

    Returns:
        The chains after it, and the probability [...] with which each proposal was accepted.
    """
    step_size, momentum = step_size[..., None], tf.ensure_shape(momentum, z.shape)

    def leapfrog(i, z, momentum, _, gradient):
        momentum += 0.5 * step_size * gradient
        z += step_size * momentum
        log_p, gradient = tfp.math.value_and_gradient(log_density, z)
        return i + 1, z, momentum + 0.5 * step_size * gradient, log_p, gradient

    log_p, gradient = tfp.math.value_and_gradient(log_density, z)
    start = log_p - 0.5 * tf.reduce_sum(momentum**2, -1)
    trajectory = (0, z, momentum, log_p, gradient)
    # A loop of the graph: unrolled, it takes seconds to trace.
    _, proposal, momentum, log_p, _ = tf.while_loop(lambda i, *_: i < num_leapfrog_steps, leapfrog, trajectory)
    acceptance = tf.exp(tf.minimum(log_p - 0.5 * tf.reduce_sum(momentum**2, -1) - start, 0.0))
    acceptance = tf.where(tf.math.is_nan(acceptance), 0.0, acceptance)  # a trajectory that left the world
    return tf.where((uniform < acceptance)[..., None], proposal, z), acceptance


def adapt(step_size, acceptance):
    """The next step size: log step_size + ADAPTATION_RATE (acceptance - TARGET_ACCEPTANCE), within the bounds.

    Stochastic approximation by steps of one length (Andrieu and Thoms 2008, section 4), float [...] both. A chain whose
    step size follows its own acceptance is no Markov chain, and need not leave a density unchanged: adapt in a run of
    its own.
    """
    step_size *= tf.exp(ADAPTATION_RATE * (acceptance - TARGET_ACCEPTANCE))
    return tf.clip_by_value(step_size, SMALLEST_STEP_SIZE, LARGEST_STEP_SIZE)
