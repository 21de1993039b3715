"""Decoding: video files that nobody vouches for to the frames a model sees, in worker processes.

``read_clip`` reads one file here; ``DecodePool`` reads many in processes that may crash, hang or run out of
memory without hurting this one; ``DaliPool`` has NVIDIA DALI decode their pictures; ``probe`` looks at one
file; ``Limits`` bounds what a file may ask for.
"""

from vtr.decode.dali import DaliPool
from vtr.decode.limits import Limits
from vtr.decode.pool import DecodePool
from vtr.decode.reader import VideoInfo, probe, read_clip

__all__ = ["DaliPool", "DecodePool", "Limits", "VideoInfo", "probe", "read_clip"]
