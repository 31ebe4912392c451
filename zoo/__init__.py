"""A zoo of deep generative models. `MODELS` is its only table: the name on the command line -> the class."""

from zoo.dcgan import DCGAN
from zoo.dbm import DBM
from zoo.gan import GAN
from zoo.vae import VAE

MODELS = {"dbm": DBM, "dcgan": DCGAN, "gan": GAN, "vae": VAE}
