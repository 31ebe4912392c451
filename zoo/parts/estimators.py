"""Lower bounds on log p(x), each a function of log-weights.

log_w[k] = log p(x, z_k) - log q(z_k | x),   z_k ~ q(z | x),   k = 1 .. K along axis 0
"""

import tensorflow as tf


def elbo(log_w):
    """The evidence lower bound E_q[log w], the mean over the K draws (Kingma and Welling 2014, equation 2).

    Args:
        log_w: float [K, ...], in nats.

    Returns:
        float [...], nats.
    """
    return tf.reduce_mean(log_w, axis=0)


def iwae(log_w):
    """The importance-weighted bound log 1/K sum_k w_k (Burda et al. 2016, equation 8); K = 1 is the ELBO.

    Args:
        log_w: float [K, ...], in nats.

    Returns:
        float [...], nats; never below `elbo(log_w)`, and tending to log p(x) as K grows.
    """
    num_samples = tf.cast(tf.shape(log_w)[0], log_w.dtype)
    return tf.reduce_logsumexp(log_w, axis=0) - tf.math.log(num_samples)


ESTIMATORS = {"elbo": elbo, "iwae": iwae}
