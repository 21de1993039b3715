"""Family, header, variant and sizes come from the tensors; what they cannot say, or deny, is an error."""

import re

import pytest

torch = pytest.importorskip("torch")

from vtr.errors import CheckpointError, UsageError  # noqa: E402
from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import FAMILIES, SE_TYPES, SIM_HEADERS, ExportOptions  # noqa: E402
from vtr.export.synthetic import random_checkpoint, random_clip  # noqa: E402

TINY = {"vocab": 97, "layers": 1, "temporal_layers": 1, "image": 32, "context": 40}
CLIP = {"vocab": 97, "layers": 1, "image": 32, "context": 40}


def make(*args, **sizes):
    return random_checkpoint(*args, **{**TINY, **sizes})


def refused(state, *words, **options):
    with pytest.raises(CheckpointError) as error:
        build_model(state, ExportOptions(**options))
    message = str(error.value)
    assert "\n" not in message and "family_head" not in message and "temporal_head" not in message
    for word in words:
        assert word in message, message


def without(state, *prefixes):
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}


EVERY = [
    ("clip4clip", header, None, scoring)
    for header, scoring in zip(SIM_HEADERS, ["holistic"] * 3 + ["cross"], strict=True)
] + [
    ("ea", "meanP", "excitation", "holistic"),
    ("ea", "seqTransf", "aggregation", "holistic"),
    ("ea", "meanP", "excitation_aggregation", "holistic"),
    ("ea", "seqLSTM", "excitation_seq", "holistic"),
    ("ea", "seqTransf", "excitation_seq_aggregation", "holistic"),
    ("ea", "tightTransf", "excitation", "cross"),
    ("teachclip", "seqTransf", None, "holistic"),
    ("xclip", "seqTransf", None, "xclip"),
    ("xclip", "meanP", None, "xclip"),
    ("tcmgc", "seqTransf", None, "tcmgc"),
]


@pytest.mark.parametrize("family, header, variant, scoring", EVERY)
def test_every_model_is_recognised_and_runs(family, header, variant, scoring):
    se_type = variant if variant in ("excitation", "aggregation") else None
    state = make(family, header, variant, frames=6, words=9, dim=64, patch=16)
    model = build_model(state, ExportOptions(frames=6, words=9, se_type=se_type, fps=2, slice="tail"))
    assert (model.family, model.sim_header, model.variant, model.scoring) == (
        family,
        header,
        variant,
        scoring,
    )
    keep = 4 if family == "tcmgc" else None
    sizes = {"frames": 6, "words": 9, "dim": 64, "image": 32, "patch": 16, "vocab": 97, "keep": keep}
    assert model.sizes == sizes and model.notes == [] and not model.training
    assert model.sampling == {"frames": 6, "fps": 2, "slice": "tail", "size": 32}
    frames = torch.zeros(2, 6, 32, 32, 3, dtype=torch.uint8)
    mask = torch.tensor([[1.0] * 6, [1.0] * 2 + [0.0] * 4])
    sentence, words = model.encode_text(torch.tensor([[95, 3, 96] + [0] * 6] * 3))
    video = model.temporal(model.encode_vision(frames, mask), mask)
    logits = model.score(sentence, words, video, mask)
    assert logits.shape == (3, 2) and torch.isfinite(logits).all() and not logits.requires_grad
    outputs = {"holistic": {"frames", "weights", "video"}, "xclip": {"frames", "video"}}
    assert video.keys() == outputs.get(scoring, {"frames"})


def test_random_checkpoints_are_seeded():
    a, b, c = make("tcmgc"), make("tcmgc"), make("tcmgc", seed=1)
    assert all(torch.equal(a[key], b[key]) for key in a) and a.keys() == c.keys()
    assert not torch.equal(a["clip.visual.proj"], c["clip.visual.proj"])


@pytest.mark.parametrize("family", ["vtr", "CLIP4Clip"])
def test_random_checkpoints_of_unknown_kinds(family):
    with pytest.raises(UsageError, match="clip4clip"):
        random_checkpoint(family)
    with pytest.raises(UsageError, match="excitation_seq"):
        random_checkpoint("ea", variant=family)


def test_sizes_default_and_come_from_tensors():
    assert build_model(make()).sizes["frames"] == 12 and build_model(make()).sizes["words"] == 32
    assert build_model(make("xclip", frames=7, words=9)).sizes["frames"] == 7
    assert build_model(make("xclip", frames=7, words=9)).sizes["words"] == 9
    assert build_model(make("ea", "meanP", "excitation_aggregation", frames=5)).sizes["frames"] == 5
    assert build_model(make(linear_patch="3d")).frame_coupling


@pytest.mark.parametrize(
    "args, options, words",
    [
        (("clip4clip",), {"family": "ea"}, ["--family ea", "says clip4clip"]),
        (("tcmgc",), {"family": "xclip"}, ["--family xclip", "says tcmgc"]),
        (
            ("clip4clip", "seqLSTM"),
            {"sim_header": "meanP"},
            ["--sim-header meanP", "says seqLSTM", "lstm_visual"],
        ),
        (("xclip",), {"frames": 64}, ["--frames 64", "says 12"]),
        (("xclip",), {"words": 12}, ["--words 12", "says 32"]),
        (("ea", "meanP", "excitation_aggregation"), {"frames": 13}, ["--frames 13", "says 12"]),
        (("tcmgc",), {"keep_rate": 0.9}, ["--keep-rate 0.9 of 32 words is 28", "keeps 16"]),
        (("tcmgc",), {"words": 10}, ["keeps 16 words of a text of 10", "--words"]),
        (("clip4clip",), {"keep_rate": 0.5}, ["--keep-rate is for TC-MGC"]),
        (("xclip",), {"se_type": "excitation"}, ["--se-type is for EA-CLIP4Clip"]),
        (("ea", "meanP", "excitation_aggregation"), {"se_type": "aggregation"}, ["--se-type aggregation"]),
        (
            ("clip4clip", "seqTransf"),
            {"frames": 41},
            ["frame_position_embeddings", "40 rows", "41", "--frames"],
        ),
        (("clip4clip", "tightTransf"), {"frames": 40}, ["cross.embeddings", "40 rows", "41", "--frames"]),
        (("clip4clip",), {"words": 41}, ["clip.positional_embedding", "40 rows", "41", "--words"]),
        (("clip4clip",), {"vision_heads": 7}, ["width 64", "7 attention heads"]),
    ],
)
def test_options_that_contradict_the_tensors(args, options, words):
    refused(make(*args), *words, **options)


@pytest.mark.parametrize(
    "args, options",
    [
        (("xclip",), {"frames": 12, "words": 32, "family": "xclip", "sim_header": "seqTransf"}),
        (("tcmgc",), {"keep_rate": 0.5, "words": 32}),
        (("ea", "meanP", "excitation_aggregation"), {"se_type": "excitation_aggregation"}),
        (("clip4clip", "seqTransf"), {"frames": 40}),
        (("clip4clip", "tightTransf"), {"frames": 39}),
    ],
)
def test_options_that_agree(args, options):
    assert build_model(make(*args), ExportOptions(**options)).family == args[0]


@pytest.mark.parametrize(
    "options",
    [
        {"family": "clip"},
        {"sim_header": "mean"},
        {"se_type": "unity"},
        {"activation": "relu"},
        {"slice": "middle"},
        {"frames": 0},
        {"words": 1},
        {"fps": 1.5},
        {"frames": True},
        {"keep_rate": 0.0},
        {"ignore": "linear_mat"},
        {"ignore": ("",)},
    ],
)
def test_options_that_make_no_sense(options):
    (name,) = options
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
        ExportOptions(**options)
    assert len(FAMILIES) == 5 and len(SE_TYPES) == 5


# --- EA-CLIP4Clip ---------------------------------------------------------------------------------


def test_ea_needs_the_type_of_a_lone_block():
    state = make("ea", "meanP", "excitation")
    for options in ({}, {"se_type": "excitation_seq"}):
        refused(state, "se_block.fc", "--se-type excitation", "--se-type aggregation", **options)
    kinds = {build_model(state, ExportOptions(se_type=t)).variant for t in ("excitation", "aggregation")}
    assert kinds == {"excitation", "aggregation"}


@pytest.mark.parametrize("variant", ["excitation_seq", "excitation_seq_aggregation"])
@pytest.mark.parametrize("header", ["meanP", "tightTransf"])
def test_ea_sequential_types_need_a_sequential_head(variant, header):
    refused(make("ea", header, variant), variant, "seqTransf or seqLSTM", header)


def test_ea_tight_only_excites():
    refused(make("ea", "tightTransf", "aggregation"), "only block type excitation", se_type="aggregation")
    refused(make("ea", "tightTransf", "excitation_aggregation"), "only block type excitation")


def test_ea_sequential_aggregation_with_intra_mlp_has_no_right_answer():
    state = make("ea", "seqTransf", "excitation_seq_aggregation", intra_mlp=True)
    refused(state, "intra_mlp", "cannot run", "--ignore intra_mlp")
    assert build_model(state, ExportOptions(ignore=("intra_mlp",))).variant == "excitation_seq_aggregation"


def test_ea_with_intra_mlp_alone():
    model = build_model(make("ea", "seqTransf", None, intra_mlp=True))
    assert (model.family, model.variant) == ("ea", None)


def test_ea_blocks_that_do_not_fit_together():
    state = make("ea", "meanP", "excitation_aggregation")
    other = make("ea", "meanP", "excitation_aggregation", reduction_ratio=3)
    mixed = {**state, **{key: other[key] for key in other if key.startswith("se_block.aggregate")}}
    refused(mixed, "hidden sizes", "'se_block.scale': 3", "'se_block.aggregate': 4")
    refused(without(state, "se_block.scale"), "unknown combination", "se_block.aggregate")
    longer = make("ea", "meanP", "excitation_aggregation", frames=13)
    mixed = {**state, **{key: longer[key] for key in longer if key.startswith("se_block.aggregate")}}
    refused(mixed, "different numbers of frames", "12", "13")


def test_fractional_ratio_expands():
    model = build_model(
        make("ea", "meanP", "excitation", reduction_ratio=0.25), ExportOptions(se_type="excitation")
    )
    assert model.family_head.se_block.fc["0"].out_features == 48


# --- tensors that are missing, left over or wrong -------------------------------------------------


@pytest.mark.parametrize(
    "prefixes, words",
    [
        (("clip.visual.",), ["no image tower", "clip.visual.conv1.weight", "clip.visual.proj"]),
        (
            (
                "clip.transformer",
                "clip.token_embedding",
                "clip.positional",
                "clip.ln_final",
                "clip.text_projection",
            ),
            ["no text tower", "clip.token_embedding.weight"],
        ),
        (("clip.logit_scale",), ["incomplete CLIP", "missing clip.logit_scale"]),
        (
            ("clip.visual.ln_post",),
            ["missing tensors", "clip.visual.ln_post.bias", "clip.visual.ln_post.weight"],
        ),
        (("transformerClip.resblocks.0.attn.out",), ["transformerClip.resblocks.0.attn.out_proj.bias"]),
        (
            ("transformerClip.",),
            ["tensors that no clip4clip meanP model has", "frame_position_embeddings.weight"],
        ),
        (("frame_position_embeddings",), ["missing tensor frame_position_embeddings.weight"]),
    ],
)
def test_missing_tensors_are_named(prefixes, words):
    refused(without(make("clip4clip", "seqTransf"), *prefixes), *words)


def test_a_gap_in_the_layers_is_named():
    state = make("clip4clip", "seqTransf", temporal_layers=3)
    refused(without(state, "transformerClip.resblocks.1."), "transformerClip.resblocks", "got [0, 2]")


def test_other_models_are_not_taken_for_a_family():
    refused({"bert.encoder.weight": torch.zeros(2)}, "no CLIP towers found", "bert.encoder.weight")
    refused({}, "no CLIP towers found")
    timm = {"visual.trunk.blocks.0.norm1.weight": torch.zeros(1), **without(random_clip(**CLIP), "visual.")}
    refused(timm, "timm", "ViT or ResNet")
    extra = {**make(), "agg_frame_weight": torch.zeros(3)}  # a family that has its own head
    refused(extra, "no clip4clip meanP model has", "agg_frame_weight", "--ignore")
    assert build_model(extra, ExportOptions(ignore=("agg_",))).family == "clip4clip"
    both = {**make("xclip"), "frameLinear.weight": torch.zeros(1)}
    refused(both, "several families", "frameLinear.weight of teachclip", "of xclip")
    both = {**make("clip4clip", "seqTransf"), **make("clip4clip", "seqLSTM")}
    refused(both, "several similarity headers", "seqLSTM", "seqTransf")


@pytest.mark.parametrize(
    "family, header", [("teachclip", "meanP"), ("tcmgc", "seqLSTM"), ("xclip", "tightTransf")]
)
def test_families_without_such_a_header(family, header):
    refused(make(family, header), f"a {family} checkpoint needs", header)


@pytest.mark.parametrize(
    "key, shape, words",
    [
        ("clip.visual.proj", [64, 63], ["clip.visual.proj [64, 63] instead of [64, 64]"]),
        ("clip.visual.positional_embedding", [3, 64], ["grid² + 1 rows, got 3"]),
        (
            "clip.visual.conv1.weight",
            [64, 1, 32, 32],
            ["expected shape [64, 3, 32, 32], got [64, 1, 32, 32]"],
        ),
        ("clip.visual.conv1.weight", [64, 3, 32, 16], ["expected shape [64, 3, 16, 16]"]),
        ("clip.text_projection", [64], ["clip.text_projection: expected 2 non-empty axes, got shape [64]"]),
        ("clip.ln_final.weight", [0], ["clip.ln_final.weight", "non-empty"]),
        ("clip.logit_scale", [1], ["clip.logit_scale [1] instead of []"]),
        ("transformerClip.resblocks.0.ln_1.weight", [65], ["ln_1.weight [65] instead of [64]"]),
    ],
)
def test_misshapen_tensors_are_named(key, shape, words):
    state = make("clip4clip", "seqTransf")
    assert key in state
    refused({**state, key: torch.zeros(shape)}, *words)


def test_forged_sizes_do_not_allocate():
    """Ten to the twelve weights by declaration: models are laid out on the meta device first."""
    state = make()
    wide = torch.zeros(1).expand(1 << 20, 3, 32, 32)
    refused(
        {**state, "clip.visual.conv1.weight": wide},
        "clip.visual.conv1.weight [1048576, 3, 32, 32] instead of",
    )
    mlp = torch.zeros(1).expand(1 << 22, 1 << 20)
    refused({**state, "clip.transformer.resblocks.0.mlp.c_fc.weight": mlp}, "wrong shape")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_numbers_are_named(value):
    state = make("xclip")
    state["word_mat_weight2"] = state["word_mat_weight2"].clone()
    state["word_mat_weight2"][3, 4] = value
    refused(state, "NaN or infinite", "word_mat_weight2")


@pytest.mark.parametrize(
    ("model", "given", "note"),
    [
        (
            ("clip4clip",),
            {},
            "how many frames and words training had: 12 and 32 were taken; else give --frames",
        ),
        (("clip4clip",), {"words": 9}, "how many frames training had: 12 were taken; else give --frames"),
        (("clip4clip",), {"frames": 6, "words": 9}, None),
        (
            ("ea", "meanP", "excitation_aggregation"),
            {},
            "how many words training had: 32 were taken; else give --words",
        ),
        (("xclip",), {}, None),
    ],
)
def test_sizes_that_were_taken_for_granted_are_told(model, given, note):
    notes = build_model(make(*model), ExportOptions(**given)).notes
    assert bool(notes) == (note is not None) and all(note in line for line in notes)


def test_tcmgc_without_logit_weight_says_so():
    model = build_model(make("tcmgc", logit_weight=False), ExportOptions(frames=12, words=32))
    assert len(model.notes) == 1 and "logit_weight" in model.notes[0]
    assert torch.equal(model.head()["logit_weight"], torch.eye(4))


def test_cross_is_for_the_tight_header_only():
    model = build_model(make())
    with pytest.raises(CheckpointError, match=re.escape("clip4clip with meanP has no cross encoder")):
        model.cross(torch.zeros(1, 64), torch.zeros(1, 12, 64), torch.ones(1, 12))


def test_the_package_is_lazy():
    import vtr.export

    assert vtr.export.build_model is build_model and "load_checkpoint" in dir(vtr.export)
    with pytest.raises(AttributeError, match="nothing"):
        _ = vtr.export.nothing
