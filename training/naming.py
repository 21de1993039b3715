"""What a tower's places are told apart by: labels, or names that the text tower reads.

A place of the last feature map has a feature of its own: what attention pooling would give if it attended to
that place alone (Zhou, Loy and Dai, "Extract Free Dense Labels from CLIP", ECCV 2022, section 3.2). Where
pictures hold many things, the text tower so learns a name from every one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vtr.errors import UsageError
from vtr.export.resnet import ResNetTower
from vtr.export.towers import Clip
from vtr.tokenizer import Tokenizer

from .clips import World
from .clips.captions import caption
from .clips.claims import ActorClaim, Step
from .icons import UNCERTAIN, Icons

VALUES = ("visual.attnpool.v_proj", "visual.attnpool.c_proj")


class ByLabel(nn.Linear):
    """A linear map of each place, which is dropped in the end."""

    def __init__(self, tower: ResNetTower, icons: Icons, seed: int = 0) -> None:
        torch.manual_seed(seed)  # the same in every process
        super().__init__(tower.attnpool.c_proj.in_features, icons.labels)

    def forward(self, maps: Tensor, labels: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Maps ``[N, C, h, w]``, labels int64 ``[N, h, w]`` -> logits float32 ``[P, K]`` of the P places that
        have a label, and which of the K is right, ``[P]``. ``number``: of the batch."""
        seen = labels != UNCERTAIN
        return super().forward(maps.permute(0, 2, 3, 1)[seen]).float(), labels[seen]


class ByName:
    """The cosine of a place's feature and a caption that names a thing, by ``clip``'s own scale.

    What a place sees competes with the other things of the same pictures; places that see nothing are left
    out.
    """

    def __init__(self, clip: Clip, world: World, tokenizer: Tokenizer, words: int, seed: int = 0) -> None:
        if not isinstance(clip.visual, ResNetTower):
            raise UsageError("expected a ResNet as the image tower: its last map has places that see things")
        self.clip, self.pool = clip, clip.visual.attnpool
        self.tokenizer, self.words, self.seed = tokenizer, words, seed
        self.concepts, self.names = world.concepts, list(world.concepts)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What learns: the text tower, and what pooling makes of a place it attends to."""
        for name, parameter in self.clip.named_parameters():
            if not name.startswith("visual.") or name.startswith(VALUES):
                yield name, parameter

    def __call__(self, maps: Tensor, labels: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """As `ByLabel`; K captions, one for each thing of the pictures."""
        things = (labels >= 0) & (labels < len(self.names))
        present, right = labels[things].unique(return_inverse=True)
        sentence, _ = self.clip.text(self._captions(present.tolist(), number))
        places = self.pool.c_proj(self.pool.v_proj(maps.permute(0, 2, 3, 1)[things]))
        cosines = normalize(places.float(), dim=-1) @ normalize(sentence.float(), dim=-1).T
        return self.clip.logit_scale.exp() * cosines, right

    def _captions(self, present: list[int], number: int) -> Tensor:
        """Token ids int64 ``[K, L]``, no longer than they have to be."""
        random = Random(f"names/{self.seed}/{number}")
        claims = [(Step((ActorClaim(self.names[label]),)),) for label in present]
        texts = [caption(claim, self.concepts, random) for claim in claims]
        ids = torch.from_numpy(self.tokenizer.encode(texts, self.words))
        return ids[:, : int(ids.argmax(1).max()) + 1]
