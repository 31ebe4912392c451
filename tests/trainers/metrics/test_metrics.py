"""What metrics say of models and data that they are not for."""

import dataclasses

import numpy as np
import pytest

from tests.trainers.metrics.made import (
    MODES,
    class_sampler_of,
    data_of,
    encoder_of,
    model_of,
    options,
    run_of,
    sampler_of,
)
from trainers.metrics import METRICS, DoesNotApply
from zoo import AAE, Helmholtz
from zoo.variational.conditional_vae import ConditionalVAE

NOTHING, POINTS, MIXTURE = run_of(model_of()), data_of(MODES, MODES), data_of(MODES, MODES, MODES, 0.1)
ENCODER = run_of(encoder_of(lambda x: x))
FACTORS = dataclasses.replace(POINTS, factors={"x": np.arange(4)})
DISCRETE = run_of(model_of(p=None, latent_prior=None, support="binary"))
MANY = data_of(MODES.repeat(3, 0), MODES.repeat(3, 0))
LABELLED = dataclasses.replace(FACTORS, train_labels=np.arange(4), test_labels=np.arange(4), num_classes=4)
OF_CLASSES = run_of(
    ConditionalVAE(data_shape=(2,), num_classes=4, latent_size=2, hidden_units=(), likelihood="gaussian")
)

RING = run_of(
    AAE(data_shape=(2,), latent_size=2, prior_classes=4, posterior="gaussian", hidden_units=(), likelihood="gaussian")
)


@pytest.mark.parametrize("name, run, data, why", [
    ("modes_found", sampler_of(MODES), POINTS, "no mixture"),
    ("modes_over_time", NOTHING, POINTS, "no mixture in the plane"),
    ("modes_over_time", NOTHING, MIXTURE, "kept no samples"),
    ("importance_weighted_nll", NOTHING, None, "no density to propose"),
    ("jackknife_nll", NOTHING, None, "no density to propose"),
    ("ais_gap", NOTHING, None, "no likelihood"),
    ("exact_nll", NOTHING, None, "no closed form"),
    ("ais_nll", NOTHING, None, "no likelihood"),
    *((name, DISCRETE, None, "not real numbers") for name in ("ais_gap", "ais_nll")),
    ("samples_per_second", NOTHING, None, "draws no samples"),
    ("samples_over_time", NOTHING, POINTS, "no images"),
    ("completions", NOTHING, POINTS, "completes nothing"),
    ("completions", run_of(model_of(inpaint=None)), POINTS, "no images"),
    ("receptive_field", NOTHING, POINTS, "no order of pixels"),
    ("receptive_field", run_of(model_of(orders=[[0, 1]])), POINTS, "no images"),
    ("unit_features", NOTHING, POINTS, "no layers of units"),
    ("unit_features", run_of(model_of(weights_down=None)), POINTS, "no images"),
    ("ais_log_likelihood", NOTHING, None, "no partition function"),
    ("class_accuracy", sampler_of(MODES), MIXTURE, "by no class"),
    ("classification_accuracy", NOTHING, POINTS, "does not infer classes"),
    ("class_accuracy", class_sampler_of(MODES), POINTS, "tells the class"),
    ("nearest_neighbour_accuracy", NOTHING, POINTS, "does not encode"),
    ("linear_probe", NOTHING, POINTS, "does not encode"),
    *((name, OF_CLASSES, LABELLED, "told the class of a row") for name in (
        "active_units", "aggregate_posterior", "kl_decomposition", "latent_map", "linear_probe",
        "mutual_information_gap", "nearest_neighbour_accuracy", "posterior_map",
    )),
    ("linear_probe", ENCODER, POINTS, "no labels"),
    ("linear_probe", ENCODER, data_of(MODES, MODES, labels=(np.ones(4), np.ones(4))), "one label"),
    ("active_units", NOTHING, POINTS, "does not encode"),
    ("active_units", run_of(encoder_of(lambda x: x, "h1")), POINTS, "no z"),
    ("active_units", ENCODER, data_of(MODES, MODES[:1]), "1 row does not vary"),
    ("latent_map", NOTHING, POINTS, "not of 2 numbers"),
    ("posterior_map", NOTHING, POINTS, "not of 2 numbers"),
    ("posterior_map", RING, LABELLED, "prior of latents is not N"),
    ("kl_decomposition", NOTHING, POINTS, "not N"),
    ("mutual_information_gap", ENCODER, POINTS, "factors of the data are not known"),
    ("mutual_information_gap", ENCODER, FACTORS, "no Gaussian"),
    ("mutual_information_gap", NOTHING, FACTORS, "does not encode"),
    ("latent_traversals", NOTHING, POINTS, "decodes no latents alone"),
    ("aggregate_posterior", NOTHING, POINTS, "no latents"),
    ("aggregate_posterior", run_of(Helmholtz(data_shape=(2,), hidden_units=(3,))), POINTS, "not real numbers"),
    ("group_probe", NOTHING, POINTS, "no groups"),
    ("style_content_swaps", NOTHING, POINTS, "no style"),
    ("ais_nll", run_of(model_of(p=None)), POINTS, "no likelihood"),
    ("histogram_kl", sampler_of(MODES), MIXTURE, "not of one number"),
    ("sample_energy_distance", sampler_of(MODES), data_of(MODES, MODES[:1]), "1 rows are too few"),
    ("memorisation", sampler_of(MODES), data_of(MODES, MODES[:1]), "1 rows are too few"),
    ("memorisation", NOTHING, MANY, "draws no samples"),
    ("frechet_distance", NOTHING, MANY, "draws no samples"),
    ("chain_mixing", NOTHING, POINTS, "no Markov chain"),
    ("density_ratio", NOTHING, POINTS, "no ratio"),
    ("density_map", NOTHING, POINTS, "no closed form"),
    ("density_map", NOTHING, data_of(MODES[:, :1], MODES[:, :1]), "not points in the plane"),
    ("play_against_theory", NOTHING, POINTS, "no linear game"),
    ("eigenvalues_against_theory", NOTHING, POINTS, "no linear game"),
    ("density_against_theory", NOTHING, POINTS, "no distribution function"),
    ("posterior_against_theory", NOTHING, POINTS, "no posterior of two numbers"),
])  # fmt: skip
def test_metrics_that_do_not_apply(name, run, data, why):
    with pytest.raises(DoesNotApply, match=why):
        METRICS[name](run, data, options())
