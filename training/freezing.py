"""Leaving the first parts of an image tower as they are, as CLIP4Clip's ``freeze_layer_num`` does.

What a tower knows of edges and colours serves every video. Its first parts have the largest maps: where they
do not learn, nothing is kept for their way back, which is two thirds of a part's time in a step.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from torch import nn

from vtr.errors import UsageError
from vtr.export.models import ReferenceModel
from vtr.export.resnet import ResNetTower
from vtr.export.towers import VisionTower

Part = list[nn.Module | nn.Parameter]


def set_training(models: Mapping[str, ReferenceModel], freeze: int) -> None:
    """Have models that share one ``clip`` learn, but for the first ``freeze`` parts of its image tower.

    Batch norms take the batch's statistics, frozen ones those that they have.

    Raises:
        UsageError: the tower has fewer parts.
    """
    for model in models.values():
        model.requires_grad_(True).train()
    parts = image_parts(next(iter(models.values())).clip.visual)
    if freeze > len(parts):
        raise UsageError(f"expected at most {len(parts)} parts of the image tower to freeze, got {freeze}")
    for each in itertools.chain.from_iterable(parts[:freeze]):
        each.requires_grad_(False)
        if isinstance(each, nn.Module):
            each.eval()


def image_parts(tower: ResNetTower | VisionTower) -> list[Part]:
    """From the pixels on: the stem and the stages of a ResNet, or the embeddings and the blocks of a vision
    transformer. What makes features of the last map or token is none of them: it always learns."""
    if isinstance(tower, ResNetTower):
        stem: Part = [tower.conv1, tower.bn1, tower.conv2, tower.bn2, tower.conv3, tower.bn3]
        return [stem, [tower.layer1], [tower.layer2], [tower.layer3], [tower.layer4]]
    patches = tower.conv2 if tower.frame_coupling else tower.conv1
    embeddings: Part = [patches, tower.class_embedding, tower.positional_embedding, tower.ln_pre]
    return [embeddings, *([block] for block in tower.transformer.resblocks)]
