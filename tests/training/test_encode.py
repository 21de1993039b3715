"""Each real frame once through the tower, against the tower on padded videos."""

import pytest

torch = pytest.importorskip("torch")

from training_cases import FRAMES, SIDE, make_batch, make_model  # noqa: E402

from vtr.errors import UsageError  # noqa: E402
from vtr.training.batches import Batch  # noqa: E402
from vtr.training.encode import encode_videos  # noqa: E402


def padded(batch: Batch):
    """Frames ``[B,F,H,W,3]`` and mask: a loop over videos. Padding is grey noise: its mask must hide it."""
    frames = torch.full((len(batch), FRAMES, SIDE, SIDE, 3), 77, dtype=torch.uint8)
    mask = torch.zeros(len(batch), FRAMES)
    start = 0
    for video, count in enumerate(batch.counts.tolist()):
        frames[video, :count] = batch.frames[start : start + count]
        mask[video, :count] = 1
        start += count
    return frames, mask


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("name", ["meanP", "3d"])
def test_equals_the_tower_on_padded_videos(name, size):
    model = make_model(name).double()
    batch = make_batch(size)
    frames, mask = padded(batch)
    if name == "3d":  # real frames see padded neighbours, which are zero pixels in both
        frames = frames * mask[:, :, None, None, None].to(torch.uint8)
    weight = torch.randn(size, FRAMES, 64, dtype=torch.float64)
    want = model.encode_vision(frames, mask)
    (want * weight).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.clip.visual.named_parameters()}
    model.zero_grad()
    x, got_mask = encode_videos(model, batch.frames, batch.counts)
    (x * weight).sum().backward()
    assert torch.equal(got_mask, mask)
    # float64, sums in another order: a few ulp of values of order 10
    torch.testing.assert_close(x, want, rtol=0, atol=1e-12)
    for name, parameter in model.clip.visual.named_parameters():
        scale = gradients[name].abs().max().item()
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=0, atol=1e-11 * max(scale, 1))


def test_full_videos_need_no_padding():
    model = make_model("meanP")
    batch = make_batch(4)
    full = Batch(batch.frames[:8], torch.tensor([4, 4]), batch.ids[:2])
    x, mask = encode_videos(model, full.frames, full.counts)
    assert mask.min() == 1
    want = model.encode_vision(full.frames.reshape(2, FRAMES, SIDE, SIDE, 3), mask)
    torch.testing.assert_close(x, want, rtol=0, atol=1e-5)  # float32 of order 1 to 10


def test_the_tower_sees_each_real_frame_once_and_one_for_padding():
    model, batch, seen = make_model("meanP"), make_batch(4), []

    def tower(frames, mask):
        seen.append((tuple(frames.shape), int(mask.sum())))
        return model.clip.visual(frames, mask)

    encode_videos(model, batch.frames, batch.counts, tower)
    assert seen == [((11, 1, SIDE, SIDE, 3), 10)]  # 1 + 2 + 3 + 4 frames, and one


@pytest.mark.parametrize(
    ("counts", "frames", "message"),
    [
        ([1, 5], (6, SIDE, SIDE, 3), "expected 1 to 4 frames a video, got 1 to 5"),
        ([0, 4], (4, SIDE, SIDE, 3), "got 0 to 4"),
        ([2, 3], (6, SIDE, SIDE, 3), "add up to 5 frames, the batch holds 6"),
        ([2, 3], (5, SIDE, 30, 3), "expected frames uint8"),
    ],
)
def test_batches_that_do_not_fit_are_refused(counts, frames, message):
    with pytest.raises(UsageError, match=message):
        encode_videos(make_model("meanP"), torch.zeros(frames, dtype=torch.uint8), torch.tensor(counts))
