"""The library of models: ResNets and DenseNets under timm's names, with its weights.

    model = create_model("resnet34", num_classes=10, pretrained=True, key=key)
    state = init_state(model.params, optimizer, model.model_state)

Names, structure and settings are those of timm 1.0 (Wightman, "PyTorch Image Models"),
so that its weights, and torchvision's, fit as they are.
"""

from jaxdl.zoo.configs import (
    Config as Config,
    default_cfg as default_cfg,
    list_models as list_models,
    preprocess as preprocess,
)
from jaxdl.zoo.create import Model as Model, create_model as create_model
