"""Hamiltonian dynamics: leapfrog steps along the gradient of a log-density, Markov chains by them, and step sizes.

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
# The mean acceptance of 4 chains scatters by 0.2, and step sizes by 6 to 8 %; where all proposals are refused, they
# shrink tenfold in 18 transitions.
ADAPTATION_RATE = 0.2


def leapfrog(log_density, z, momentum, step_size, num_steps, unroll=False):
    """Steps of the leapfrog integrator of the energy -log_density(z) + |momentum|^2 / 2 (Neal 2011, section 5.2.3).

    They keep the volume of (z, momentum), and lead back to their start where the momentum is turned round.

    Args:
        log_density: function of z that gives the logarithm [...] of a density, up to a constant.
        z, momentum: float [..., size].
        step_size: float tensor that broadcasts to z. A diagonal mass matrix M is none but another step size for each
            coordinate, step_size / sqrt(M), for the momentum M^(-1/2) times that of mass M.
        num_steps: int.
        unroll: bool, whether the graph has all steps, not one and a loop. That takes longer to trace, but gradients go
            back through it under XLA, too, where the density computes shapes.

    Returns:
        z and the momentum after them, and the values [...] of `log_density` before and after.
    """

    def step(z, momentum, _, gradient):
        momentum += 0.5 * step_size * gradient
        z += step_size * momentum
        log_p, gradient = tfp.math.value_and_gradient(log_density, z)
        return z, momentum + 0.5 * step_size * gradient, log_p, gradient

    log_p, gradient = tfp.math.value_and_gradient(log_density, z)
    state = (z, tf.ensure_shape(momentum, z.shape), log_p, gradient)
    if unroll:
        for _ in range(num_steps):
            state = step(*state)
    else:
        state = tf.while_loop(lambda *_: True, step, state, maximum_iterations=num_steps)
    z, momentum, end, _ = state
    return z, momentum, (log_p, end)


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
    proposal, end, (before, after) = leapfrog(log_density, z, momentum, step_size[..., None], num_leapfrog_steps)
    start = before - 0.5 * tf.reduce_sum(momentum**2, -1)
    acceptance = tf.exp(tf.minimum(after - 0.5 * tf.reduce_sum(end**2, -1) - start, 0.0))
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
