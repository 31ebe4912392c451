"""A zoo of deep generative models. `MODELS` is its only table: the name on the command line -> the class."""

from zoo.ali import ALI
from zoo.avb import AVB
from zoo.bilinear import Bilinear
from zoo.cgan import CGAN
from zoo.dcgan import DCGAN
from zoo.density_ratio import DensityRatio
from zoo.energy.dbm import DBM
from zoo.gan import GAN
from zoo.gmmn import GMMN
from zoo.pushforward import Pushforward
from zoo.vae import VAE

MODELS = {
    "ali": ALI,
    "avb": AVB,
    "bilinear": Bilinear,
    "cgan": CGAN,
    "dbm": DBM,
    "dcgan": DCGAN,
    "density_ratio": DensityRatio,
    "gan": GAN,
    "gmmn": GMMN,
    "pushforward": Pushforward,
    "vae": VAE,
}
