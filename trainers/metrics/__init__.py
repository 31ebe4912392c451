"""Metrics, a file for each question: how likely, how near, how many modes, what representation, what theory says.

A metric is one function of (run, data, options) that returns a dict of numbers, or None where it does not apply to the
model or the data. To add one, write it in the file of its question and name it in `METRICS`.

run: `trainers.rundir.Run`. data: `trainers.data.Data`. options: the flags of `trainers.evaluate`.
"""

from trainers.metrics import coverage, density_ratio, likelihood, representation, sample_quality, theory

METRICS = {
    "ais_log_likelihood": likelihood.ais_log_likelihood,
    "ais_nll": likelihood.ais_nll,
    "class_accuracy": sample_quality.class_accuracy,
    "density_against_theory": theory.density_against_theory,
    "density_ratio": density_ratio.density_ratio,
    "held_out_objectives": likelihood.held_out_objectives,
    "histogram_kl": sample_quality.histogram_kl,
    "importance_weighted_nll": likelihood.importance_weighted_nll,
    "latent_map": representation.latent_map,
    "modes_found": coverage.modes_found,
    "modes_over_time": coverage.modes_over_time,
    "nearest_neighbour_accuracy": representation.nearest_neighbour_accuracy,
    "play_against_theory": theory.play_against_theory,
    "sample_energy_distance": sample_quality.sample_energy_distance,
}
ON_REQUEST = {"ais_nll"}  # takes long, so that it is left out unless it is asked for
