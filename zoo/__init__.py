"""A zoo of deep generative models. `MODELS` is its only table: the name on the command line -> the class."""

from zoo.cgan import CGAN
from zoo.dcgan import DCGAN
from zoo.gan import GAN
from zoo.vae import VAE

MODELS = {"cgan": CGAN, "dcgan": DCGAN, "gan": GAN, "vae": VAE}
