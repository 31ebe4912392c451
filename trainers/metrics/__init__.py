"""Metrics, a file for each question: how likely, how near, whether copies, what density, what modes, what latents, what
factors, what groups, what theory, how chains move, what units see, how fast.

A metric is one function of (run, data, options) that returns a dict, name -> number or text, or raises `DoesNotApply`.
Beside a number `n` may stand `n_standard_error`, `n_floor`, what the measure gives of data in place of samples, and
`n_floor_deviation`, its standard deviation; text, and a name that begins with `num_` or `judge`, is a setting. To add a
metric, write it in the file of its question and name it in `METRICS`.

run: `trainers.rundir.Run`. data: `trainers.data.Data`. options: the flags of `trainers.evaluate`.
"""

from trainers.metrics import (
    annealed,
    chains,
    coverage,
    densities,
    density_ratio,
    disentanglement,
    fields,
    groups,
    likelihood,
    memorisation,
    posteriors,
    representation,
    sample_quality,
    speed,
    theory,
    two_samples,
)
from trainers.metrics.rows import DoesNotApply
from trainers.metrics.sample_quality import sample_metric

__all__ = ["METRICS", "ON_REQUEST", "DoesNotApply"]

METRICS = {
    "active_units": representation.active_units,
    "aggregate_posterior": representation.aggregate_posterior,
    "ais_gap": annealed.ais_gap,
    "ais_log_likelihood": annealed.ais_log_likelihood,
    "ais_nll": annealed.ais_nll,
    "chain_mixing": chains.chain_mixing,
    "class_accuracy": sample_quality.class_accuracy,
    "classification_accuracy": likelihood.classification_accuracy,
    "completions": sample_quality.completions,
    "density_against_theory": theory.density_against_theory,
    "density_map": densities.density_map,
    "density_ratio": density_ratio.density_ratio,
    "exact_nll": likelihood.exact_nll,
    "frechet_distance": sample_metric(two_samples.frechet_distance, "features"),
    "group_probe": groups.group_probe,
    "held_out_objectives": likelihood.held_out_objectives,
    "histogram_kl": sample_quality.histogram_kl,
    "importance_weighted_nll": likelihood.importance_weighted_nll,
    "jackknife_nll": likelihood.jackknife_nll,
    "kernel_distance": sample_metric(two_samples.kernel_distance, "features"),
    "kl_decomposition": disentanglement.kl_decomposition,
    "latent_map": representation.latent_map,
    "latent_traversals": disentanglement.latent_traversals,
    "linear_probe": representation.linear_probe,
    "memorisation": memorisation.memorisation,
    "modes_found": coverage.modes_found,
    "modes_over_time": coverage.modes_over_time,
    "mutual_information_gap": disentanglement.mutual_information_gap,
    "nearest_neighbour_accuracy": representation.nearest_neighbour_accuracy,
    "play_against_theory": theory.play_against_theory,
    "eigenvalues_against_theory": theory.eigenvalues_against_theory,
    "posterior_against_theory": theory.posterior_against_theory,
    "posterior_map": posteriors.posterior_map,
    "precision_recall": sample_metric(two_samples.precision_recall, "features"),
    "sample_energy_distance": sample_metric(two_samples.energy_distance, "data"),
    "receptive_field": fields.receptive_field,
    "samples_per_second": speed.samples_per_second,
    "samples_over_time": sample_quality.samples_over_time,
    "style_content_swaps": groups.style_content_swaps,
    "two_sample_test": sample_metric(two_samples.two_sample_test, "features"),
    "unit_features": fields.unit_features,
}
# Left out unless they are asked for: what takes long, pictures without a measure, and what is of the machine.
ON_REQUEST = {
    "ais_gap", "ais_nll", "completions", "latent_traversals", "receptive_field", "samples_over_time",
    "samples_per_second", "unit_features",
}  # fmt: skip
