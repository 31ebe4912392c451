"""A zoo of deep generative models. `MODELS` is its only table: the name on the command line -> the class."""

from zoo.avb import AVB
from zoo.dcgan import DCGAN
from zoo.gan import GAN
from zoo.vae import VAE

MODELS = {"avb": AVB, "dcgan": DCGAN, "gan": GAN, "vae": VAE}
