"""Lower bounds on log p(x), float [...], each a function of log-weights, float [K, ...], all in nats.

log_w[k] = log p(x, z_k) - log q(z_k | x),   z_k ~ q(z | x),   k = 1 .. K along axis 0
"""

import tensorflow as tf


def elbo(log_w):
    """The evidence lower bound E_q[log w], the mean over the K draws (Kingma and Welling 2014, equation 2)."""
    return tf.reduce_mean(log_w, axis=0)


def iwae(log_w):
    """The importance-weighted bound log 1/K sum_k w_k (Burda et al. 2016, equation 8); K = 1 is the ELBO.

    It is never below `elbo(log_w)`, and tends to log p(x) as K grows.
    """
    num_samples = tf.cast(tf.shape(log_w)[0], log_w.dtype)
    return tf.reduce_logsumexp(log_w, axis=0) - tf.math.log(num_samples)


ESTIMATORS = {"elbo": elbo, "iwae": iwae}


def bounds_of_rows(log_weights, num_samples):
    """`elbo` and the importance-weighted `log_prob_lower_bound` of each row, float32 [batch] in nats, as a dict.

    One draw at a time, so that memory does not grow with their number, `num_samples`: `log_weights` is a function of
    the number of a draw, a scalar tensor, that returns log-weights [batch].
    """
    log_w = tf.map_fn(log_weights, tf.range(num_samples), fn_output_signature=tf.float32)
    return {"elbo": elbo(log_w), "log_prob_lower_bound": iwae(log_w)}
