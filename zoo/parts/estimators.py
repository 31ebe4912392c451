"""Lower bounds on log p(x), and one estimate, float [...], each a function of log-weights, float [K, ...], in nats.

log_w[k] = log p(x, z_k) - log q(z_k | x),   z_k ~ q(z | x),   k = 1 .. K along axis 0
"""

import functools
import math

import tensorflow as tf

from common.graph import of_each


def elbo(log_w):
    """The evidence lower bound E_q[log w], the mean over the K draws (Kingma and Welling 2014, equation 2)."""
    return tf.reduce_mean(log_w, axis=0)


def iwae(log_w):
    """The importance-weighted bound log 1/K sum_k w_k (Burda et al. 2016, equation 8); K = 1 is the ELBO.

    It is never below `elbo(log_w)`, and tends to log p(x) as K grows.
    """
    num_samples = tf.cast(tf.shape(log_w)[0], log_w.dtype)
    return tf.reduce_logsumexp(log_w, axis=0) - tf.math.log(num_samples)


def jvi(log_w, order=1):
    """Jackknife variational inference, an estimate of log p(x) (Nowozin 2018, equations 18 to 21).

        JVI_m = sum_{j=0}^{m} c_j L_{K-j}    L_n: the mean of `iwae` over all subsets of n draws

    Its bias is O(K^-(m+1)), where that of `iwae`, which is JVI_0, is O(1/K); a bound it is not. Sums of all draws but
    some are of positive terms, in time and memory K^m; in float64, because the c_j are of order K^m and cancel.

    Args:
        log_w: float [K, ...], K > order.
        order: int >= 0, m, the most draws that are left out at once.

    Raises:
        ValueError: for draws of a known number that are not more than `order`.
    """
    if log_w.shape[0] is not None and log_w.shape[0] <= order:
        raise ValueError(f"a jackknife of order {order} needs at least {order + 1} draws, not {log_w.shape[0]}.")
    rest = tf.cast(log_w, tf.float64)
    num_samples = tf.cast(tf.shape(rest)[0], rest.dtype)
    whole = value = iwae(rest)
    for j, c in enumerate(jackknife_coefficients(num_samples, order)[1:], start=1):
        log_means = leave_one_out(rest) - tf.math.log(num_samples - j)
        value += c * (tf.reduce_mean(log_means, axis=list(range(j))) - whole)
        rest = without_one(rest) if j < order else rest
    return tf.cast(value, log_w.dtype)


def jackknife_coefficients(num_samples, order):
    """c_j = (-1)^j (K - j)^m / ((m - j)! j!) of j = 0 .. m, whose sum is 1; K is a number or a scalar tensor."""
    signs = [(-1.0) ** j / (math.factorial(order - j) * math.factorial(j)) for j in range(order + 1)]
    return [sign * (num_samples - j) ** order for j, sign in enumerate(signs)]


def leave_one_out(log_w):
    """log sum_{k != i} w_k of each i along axis 0, [K, ...]; K > 1. Nothing is subtracted, so that nothing cancels."""
    before, after = (tf.math.cumulative_logsumexp(log_w, exclusive=True, reverse=reverse) for reverse in (False, True))
    return tf.reduce_logsumexp(tf.stack([before, after]), axis=0)


def without_one(log_w):
    """The K - 1 draws that are left without the i-th, [K - 1, K, ...]."""
    num_samples = tf.shape(log_w)[0]
    rest, left_out = tf.range(num_samples - 1)[:, None], tf.range(num_samples)
    return tf.gather(log_w, rest + tf.cast(rest >= left_out, rest.dtype))


ESTIMATORS = {"elbo": elbo, "iwae": iwae, "jvi": jvi}


def estimator(name, jackknife_order=1):
    """The function of log-weights alone of a name out of `ESTIMATORS`, jackknife estimates of this order."""
    return functools.partial(jvi, order=jackknife_order) if name == "jvi" else ESTIMATORS[name]


def bounds_of_rows(log_weights, num_samples):
    """`elbo` and the importance-weighted `log_prob_lower_bound` of each row, float32 [batch] in nats, as a dict.

    One draw at a time, so that memory does not grow with their number, `num_samples`: `log_weights` is a function of
    the number of a draw, a scalar tensor, that returns log-weights [batch].
    """
    log_w = of_each(log_weights, tf.range(num_samples))
    return {"elbo": elbo(log_w), "log_prob_lower_bound": iwae(log_w)}
