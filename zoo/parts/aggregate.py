"""The aggregate posterior q(z) of N rows of data, and the three parts of the divergence of posteriors from the prior.

    q(z) = 1/N sum_n q(z|x_n)

    1/N sum_n KL(q(z|x_n) || p(z)) = I(n; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))

The first is the mutual information of a row's index and its code, the second the total correlation of the codes, the
third their dimension-wise divergence from a prior that factorises (Chen et al. 2018, arXiv:1802.04942, equation 2).
All in nats.
"""

import tensorflow as tf

PARTS = ("index_code_information", "total_correlation", "dimension_wise_kl")


def weighted(num_rows, num_train):
    """The log-weight of minibatch-weighted sampling, -log(N M) for M rows, whichever row it is (appendix C.1).

    Biased: where a minibatch is all rows, M = N, it gives q(z) / N, and a total correlation of D latents that is too
    large by (D - 1) log N. But N is in a constant factor only, so that no gradient depends on it.
    """
    return -tf.math.log(tf.cast(num_rows, tf.float32) * tf.cast(num_train, tf.float32))


def stratified(num_rows, num_train):
    """Log-weights [num_rows, num_rows] of minibatch-stratified sampling, M + 1 rows being drawn without replacement.

    Row i, which z_i is drawn from, stands for itself, 1/N, and the M others for all others, (N - 1) / (N M) each. Their
    sum is an unbiased estimate of q(z_i). Its logarithm is too small in the mean, and so are those of the q(z_j). Where
    posteriors are wide, that of q(z) falls short by more than those of all q(z_j) together: so does the total
    correlation then, of which small minibatches make a negative number. Where they are so narrow that q(z_i) is little
    but the share of row i itself, which is exact, the total correlation is too large. Appendix C.2 gives one of the M
    another weight than the rest; this is the mean over which of them that is, whose variance is at most as large. A row
    alone, M = 0, stands for itself only: then q(z) is its share, and the total correlation says (size - 1) log N.
    """
    N, M = tf.cast(num_train, tf.float32), tf.cast(tf.maximum(num_rows - 1, 1), tf.float32)
    return tf.math.log(tf.where(tf.eye(num_rows, dtype=tf.bool), 1.0 / N, (N - 1.0) / (N * M)))


SAMPLING = {"weighted": weighted, "stratified": stratified}


def log_densities(q, z, log_weights):
    """log q(z), float [..., m], and log q(z_j) of each dimension, float [..., m, size].

    Args:
        q: `posteriors.Gaussian` of n rows of data.
        z: float [..., m, size], latents.
        log_weights: float [m, n], or a scalar; log w in q(z_i) = sum_k w_ik q(z_i|x_k), and the same for each z_j.
    """
    log_q = q.density.distribution.log_prob(z[..., None, :])  # [..., m, n, size]
    joint = tf.reduce_logsumexp(tf.reduce_sum(log_q, axis=-1) + log_weights, axis=-1)
    return joint, tf.reduce_logsumexp(log_q + tf.expand_dims(log_weights, -1), axis=-2)


def parts_of_kl(q, z, log_qz, prior, log_weights):
    """What draws z of the posteriors say of each part: dict of `PARTS`, float [..., m], which add up to log q / p.

    Args:
        q, z, log_weights: as for `log_densities`, z_i being drawn from row i of q.
        log_qz: float [..., m], log q(z_i|x_i).
        prior: the tfd distribution p(z) of a vector.
    """
    joint, marginals = log_densities(q, z, log_weights)
    return parts_of(log_qz, joint, tf.reduce_sum(marginals, axis=-1), prior.log_prob(z))


def parts_of(log_qz, joint, product, log_pz):
    """The same of the logarithms of q(z|x), q(z), prod_j q(z_j) and p(z), all [..., m]."""
    return dict(zip(PARTS, (log_qz - joint, joint - product, product - log_pz), strict=True))
