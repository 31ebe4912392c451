"""A zoo of deep generative models. `MODELS` is its only table: the name on the command line -> the class."""

from common.cli import require_tensorflow

require_tensorflow()

from zoo.adversarial.ali import ALI
from zoo.adversarial.cgan import CGAN
from zoo.adversarial.dcgan import DCGAN
from zoo.adversarial.gan import GAN
from zoo.energy.dbm import DBM
from zoo.implicit.density_ratio import DensityRatio
from zoo.implicit.gmmn import GMMN
from zoo.implicit.implicit_model import ImplicitModel
from zoo.studies.bilinear import Bilinear
from zoo.studies.pushforward import Pushforward
from zoo.studies.sprinkler import Sprinkler
from zoo.variational.avb import AVB
from zoo.variational.denoising_inference import DenoisingInference
from zoo.variational.vae import VAE

__version__ = "0.3.0"

MODELS = {
    "ali": ALI,
    "avb": AVB,
    "bilinear": Bilinear,
    "cgan": CGAN,
    "dbm": DBM,
    "dcgan": DCGAN,
    "denoising_inference": DenoisingInference,
    "density_ratio": DensityRatio,
    "gan": GAN,
    "gmmn": GMMN,
    "implicit_model": ImplicitModel,
    "pushforward": Pushforward,
    "sprinkler": Sprinkler,
    "vae": VAE,
}
