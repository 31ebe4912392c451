"""A zoo of deep generative models. `MODELS` is its only table: the name on the command line -> the class."""

from common.cli import require_tensorflow

require_tensorflow()

from zoo.adversarial.ali import ALI
from zoo.adversarial.bayesian_gan import BayesianGAN
from zoo.adversarial.bigan import BiGAN
from zoo.adversarial.cgan import CGAN
from zoo.adversarial.dcgan import DCGAN
from zoo.adversarial.gan import GAN
from zoo.adversarial.image_to_image import ImageToImage
from zoo.adversarial.lapgan import LAPGAN
from zoo.adversarial.progressive_gan import ProgressiveGAN
from zoo.adversarial.resnet_gan import ResNetGAN
from zoo.autoregressive.conditional_pixelcnn import ConditionalPixelCNN
from zoo.autoregressive.made import MADE
from zoo.autoregressive.nade import NADE
from zoo.autoregressive.pixelcnn import PixelCNN
from zoo.autoregressive.pixelrnn import PixelRNN
from zoo.energy.dbm import DBM
from zoo.energy.dbn import DBN
from zoo.flows.nice import NICE
from zoo.implicit.density_ratio import DensityRatio
from zoo.implicit.gmmn import GMMN
from zoo.implicit.gsn import GSN
from zoo.implicit.implicit_model import ImplicitModel
from zoo.studies.bilinear import Bilinear
from zoo.studies.pushforward import Pushforward
from zoo.studies.sprinkler import Sprinkler
from zoo.variational.aae import AAE
from zoo.variational.auxiliary_vae import AuxiliaryVAE
from zoo.variational.avb import AVB
from zoo.variational.conditional_vae import ConditionalVAE
from zoo.variational.denoising_inference import DenoisingInference
from zoo.variational.factor_vae import FactorVAE
from zoo.variational.hamiltonian_vae import HamiltonianVAE
from zoo.variational.helmholtz import Helmholtz
from zoo.variational.hierarchical_vae import HierarchicalVAE
from zoo.variational.ml_vae import MLVAE
from zoo.variational.vae import VAE
from zoo.variational.wae import WAE

__version__ = "0.11.1"

MODELS = {
    "aae": AAE,
    "ali": ALI,
    "auxiliary_vae": AuxiliaryVAE,
    "avb": AVB,
    "bayesian_gan": BayesianGAN,
    "bigan": BiGAN,
    "bilinear": Bilinear,
    "cgan": CGAN,
    "conditional_pixelcnn": ConditionalPixelCNN,
    "conditional_vae": ConditionalVAE,
    "dbm": DBM,
    "dbn": DBN,
    "dcgan": DCGAN,
    "denoising_inference": DenoisingInference,
    "density_ratio": DensityRatio,
    "factor_vae": FactorVAE,
    "gan": GAN,
    "gmmn": GMMN,
    "gsn": GSN,
    "hamiltonian_vae": HamiltonianVAE,
    "helmholtz": Helmholtz,
    "hierarchical_vae": HierarchicalVAE,
    "image_to_image": ImageToImage,
    "implicit_model": ImplicitModel,
    "lapgan": LAPGAN,
    "made": MADE,
    "ml_vae": MLVAE,
    "nade": NADE,
    "nice": NICE,
    "pixelcnn": PixelCNN,
    "pixelrnn": PixelRNN,
    "progressive_gan": ProgressiveGAN,
    "pushforward": Pushforward,
    "resnet_gan": ResNetGAN,
    "sprinkler": Sprinkler,
    "vae": VAE,
    "wae": WAE,
}
