"""A study file: what is wrong with it is said before any job starts."""

import shutil
from pathlib import Path

import pytest

from vsrbench.core import config
from vsrbench.core.config import STUDIES, read_yaml
from vsrbench.core.errors import InputError
from vsrbench.data.photo_motion import MAX_SIZE
from vsrbench.orchestration.cost_forecast import plan
from vsrbench.orchestration.study import load_study
from vsrbench.orchestration.study_status import describe

TINY = Path(__file__).parents[2] / "workflow" / "tiny.yaml"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The tiny study, in a folder where nothing is but `clips`."""
    for variable in ("VSRBENCH_DATA", "VSRBENCH_LPIPS_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    return read_yaml(TINY)


def test_folders_of_ones_own_are_scored_by_name(settings):
    study = load_study(settings | {"folders": {"mine": "clips", "yours": "clips"}})
    assert study.datasets == ("photo_motion", "mine", "yours")
    assert study.scores("full") == study.datasets and study.scores("oracle_flow") == ("photo_motion",)
    assert study.place("mine") == {"dataset": "folder", "root": "clips", "name": "mine"}


def test_a_folder_of_ones_own_may_be_trained_on(settings):
    mine = {"folders": {"mine": "clips", "yours": "clips"}, "variants": ["full"], "train_on": "mine"}
    study = load_study(settings | mine)
    assert study.datasets == ("photo_motion", "mine", "yours")
    shares = {"split_seed": 1, "validation_share": 0.1, "test_share": 0.1}
    assert study.place("mine") == {"dataset": "folder", "root": "clips", "name": "mine"} | shares
    assert study.place("yours") == {"dataset": "folder", "root": "clips", "name": "yours"}
    study = load_study(settings | mine | {"split": {"seed": 3, "validation": 0.5, "test": 0}})
    assert study.datasets == ("photo_motion", "yours")
    assert study.place("mine")["split_seed"] == 3 and study.place("mine")["validation_share"] == 0.5
    named = {"evaluate_on": {"yours": "required", "mine": "if_present"}}
    assert set(load_study(settings | mine | named).datasets) == {"mine", "yours"}


MINE = {"folders": {"mine": "clips"}, "variants": ["full"], "train_on": "mine"}
TUNE = {"learning_rates": [0.0005, 0.001, 0.002, 0.004], "seeds": [8, 9]}


def test_budgets_multiply_the_variants_and_share_their_learning_rate(settings):
    study = load_study(settings | {"budgets": [4, 2], "tune": TUNE})
    assert list(study.variants) == ["full", "fcsa", "oracle_flow"]
    assert list(study.shorter) == [f"{name}_at_{n}" for n in (2, 4) for name in study.variants]
    assert study.trained["fcsa_at_2"].training.iterations == 2
    assert study.tuned("fcsa") == study.tuned("fcsa_at_2") == "fcsa"
    assert study.scores("oracle_flow_at_2") == ("photo_motion",)
    assert load_study(settings).tuned("fcsa") is None and not load_study(settings).shorter


def test_a_folder_may_be_all_that_is_scored(settings):
    assert load_study(settings | {"evaluate_on": {}, "folders": {"mine": "clips"}}).datasets == ("mine",)


def test_clips_must_hold_the_largest_window_and_tile(settings):
    assert load_study(settings).min_clip_size() == {"min_frames": 3, "min_edge": 16}


def test_a_study_that_claims_name_must_have_their_variants(settings):
    said = "ablations/claims.yaml: claims.attention.variant: unknown variant of study aliased 'no_attention'"
    with pytest.raises(InputError, match=said):
        load_study(settings | {"study": "aliased"})


def test_loaded_networks_are_not_trained(settings):
    Path("full.pth").touch()
    Path("fcsa.pth").touch()
    study = load_study(settings | {"weights": {"fcsa": "fcsa.pth"}, "budgets": [4], "tune": TUNE})
    assert list(study.loaded) == ["fcsa"] and study.seeds("fcsa") == [0] and study.seeds("full") == [1, 2]
    assert list(study.trained) == ["full", "oracle_flow", "full_at_4", "oracle_flow_at_4"]
    assert list(study.networks) == ["full", "fcsa", "oracle_flow", "full_at_4", "oracle_flow_at_4"]


def test_a_study_without_training_needs_no_training_data(settings):
    Path("full.pth").touch()
    loaded = {"variants": ["full"], "weights": {"full": "full.pth"}, "train_on": "reds"}
    assert not load_study(settings | loaded).trained
    with pytest.raises(InputError, match="reds needs the folder"):
        load_study(settings | loaded | {"variants": ["full", "fcsa"]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folders": {"mine": "elsewhere"}}, "folders.mine: elsewhere is not a folder; correct the path"),
        ({"folders": {"vid4": "clips"}}, "folders.vid4: is the name of a data set; choose another"),
        (
            {"train_on": "vid4"},
            "train_on: unknown data set 'vid4'; expected one of photo_motion, permuted_cells, reds, vimeo90k",
        ),
        ({"train_on": "mine"}, "train_on: unknown data set 'mine'"),
        (
            MINE | {"variants": ["full", "oracle_flow"]},
            "oracle_flow needs exact flow, which mine does not have",
        ),
        (
            {"split": {"seed": 1, "validation": 0.1, "test": 0.1}},
            "split: photo_motion has its own split; leave it out, or train on one of folders",
        ),
        (
            MINE | {"split": {"seed": 1, "validation": 0.5, "test": 0.5}},
            "split: validation and test leave no clip for training; lower them",
        ),
        (
            MINE | {"split": {"seed": 1, "validation": 0, "test": 0.5}},
            "split.validation: 0 is less than or equal",
        ),
        (
            MINE
            | {
                "split": {"seed": 1, "validation": 0.5, "test": 0},
                "evaluate_on": {"mine": "required"},
            },
            "evaluate_on: mine has no test clips at split.test 0; raise it",
        ),
        (
            {"weights": {"two_heads": "clips"}},
            "weights: unknown variant of the study 'two_heads'; expected one",
        ),
        (
            {"weights": {"full": "VSR_REDS4.pth"}},
            r"weights.full: VSR_REDS4.pth does not exist; get it \(https://github.com/caojiezhang/VSR-Transfor",
        ),
        ({"weights": {"full": "x"}, "budgets": [4]}, "budgets: full is loaded, so it has one budget; leave"),
        ({"baselines": ["lanczos"]}, "baselines: unknown baseline 'lanczos'; expected one of bicubic"),
        ({"baselines": []}, "baselines: bicubic is missing; the gate"),
        ({"variants": ["full", "bicubic"]}, "variants: bicubic is a baseline; list it under baselines"),
        ({"folders": {"Mine": "clips"}}, "folders: 'Mine' does not match"),
        ({"folders": {"mine": ["clips"]}}, "folders.mine: .* is not of type 'string'"),
        (
            {"evaluate_on": {"mine": "required"}},
            "evaluate_on: unknown data set 'mine'; expected one of photo_motion, permuted_cells, .*, udm10",
        ),
        ({"evaluate_on": {"vid4": "if_present"}}, "evaluate_on: none of its data sets is available"),
        ({"evaluate_on": {"vid4": "required"}}, "vid4 needs the folder .*Vid4/GT; get Vid4"),
        ({"tune": TUNE | {"seeds": [2, 9]}}, "tune.seeds: 2 is a seed of the study; choose another"),
        ({"tune": TUNE | {"learning_rates": [0.1]}}, "tune.learning_rates: .* is too short"),
        (
            {"exclude": [{"dataset": "reds4", "clip": "000", "reason": "dark"}]},
            "exclude.0.dataset: unknown data set 'reds4'; expected one of photo_motion, vid4",
        ),
        ({"exclude": [{"dataset": "vid4", "clip": "city"}]}, "exclude.0: 'reason' is a required property"),
        ({"budgets": [6]}, "budgets: 6 is not below full's training.iterations 6"),
        ({"seeds": [2**32]}, "seeds.0: 4294967296 is greater than the maximum"),
        ({"runtime": {"sizes": [[32, 0]], "budget_seconds": 1}}, "runtime.sizes.0.1: 0 is less than"),
        (
            {"runtime": {"sizes": [[32, 8]], "budget_seconds": 1}},
            r"runtime.sizes: \[32, 8\] is less than a tile of 16",
        ),
        ({"overrides": {"model": {"num_frames": 7}}}, "photo_motion.num_frames: 5 are fewer than full's"),
        (
            {"overrides": {"model": {"feat_size": 64}}},
            "photo_motion.size: 128 is less than four times full's",
        ),
    ],
)
def test_mistakes(settings, change, said):
    if "overrides" in change:
        change = {
            "overrides": {
                **settings["overrides"],
                "model": settings["overrides"]["model"] | change["overrides"]["model"],
            }
        }
    with pytest.raises(InputError, match=rf"^study tiny: [^\n]*{said}[^\n]*$"):
        load_study(settings | change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": "one"}, "seeds: 'one' is not of type 'array'"),
        ({"seeds": [1, 1]}, "seeds:"),
        ({"variants": ["fcsa"]}, "variants: full is missing; add it"),
        ({"variants": ["full", "two-heads"]}, "variants.1: 'two-heads' does not match"),
        (
            {"overrides": {"training": {"betas": 0.9}}},
            "study tiny: ablations/full.yaml with its overrides: training.betas: expected a list, got 0.9",
        ),
        ({"study": "../elsewhere"}, "study: '../elsewhere' does not match"),
        ({"degradation": "bicubic"}, "degradation: 'bicubic' is not one of"),
        ({"overrides": {"model": {"widht": 8}}}, "overrides.model.widht: full.yaml has no such key"),
        (
            {"overrides": {"model": {"depth": "two"}}},
            "model.depth: expected an integer of at least 1",
        ),
        ({"lpips_weights": "missing_folder"}, "lpips_weights: missing_folder does not exist"),
        ({"flow_weights": "missing.pth"}, "flow_weights: missing.pth does not exist"),
    ],
)
def test_mistake_is_one_line_that_names_the_key(settings, change, said):
    with pytest.raises(InputError) as error:
        load_study(settings | change)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_data_set_that_is_left_out_is_named(settings, tmp_path):
    settings |= {"evaluate_on": {"photo_motion": "required", "vid4": "if_present"}}
    assert load_study(settings).left_out == (), "nobody said that there are data"
    assert load_study(settings | {"data_root": str(tmp_path)}).left_out == (
        f"vid4, {tmp_path}/Vid4/GT does not exist",
    )


def test_a_list_that_is_missing_is_named(settings, tmp_path):
    (tmp_path / "vimeo_septuplet" / "sequences").mkdir(parents=True)
    settings["data_root"] = str(tmp_path)
    if_present = {"photo_motion": "required", "vimeo90k": "if_present"}
    assert load_study(settings | {"evaluate_on": if_present}).left_out == (
        f"vimeo90k, {tmp_path}/vimeo_septuplet/sep_testlist.txt does not exist",
    )
    change = {"evaluate_on": {"vimeo90k": "required"}}
    with pytest.raises(InputError, match=r"vimeo90k needs the list .*septuplet/sep_testlist\.txt; get"):
        load_study(settings | change)


def test_a_crop_for_flow_must_fit_the_clips(settings):
    settings["flow_training"]["crop_size"] = 64
    with pytest.raises(
        InputError, match="flow_training.crop_size: 64 is more than a quarter of photo_motion"
    ):
        load_study(settings)


def test_made_clips_are_no_larger_than_the_photographs_allow(settings):
    settings["photo_motion"]["size"] = MAX_SIZE
    load_study(settings)
    settings["photo_motion"]["size"] = MAX_SIZE + 4
    with pytest.raises(InputError, match=f"photo_motion.size: .* greater than the maximum of {MAX_SIZE}"):
        load_study(settings)


def test_exact_flow_is_not_to_be_had_of_real_training_clips(settings, tmp_path):
    (tmp_path / "train_sharp").mkdir()
    settings |= {"train_on": "reds", "data_root": str(tmp_path)}
    with pytest.raises(InputError, match="variants: oracle_flow needs exact flow, which reds does not have"):
        load_study(settings)
    assert load_study(settings | {"variants": ["full"]}).settings["train_on"] == "reds"


def test_a_study_has_one_flow_network(settings, tmp_path, monkeypatch):
    shutil.copytree(config.ABLATIONS, tmp_path / "ablations")
    (tmp_path / "ablations" / "narrow.yaml").write_text(
        "title: A\nquestion: B?\nchanges: {model: {flow_num_feat: 4}}\n"
    )
    monkeypatch.setattr(config, "ROOT", tmp_path)
    monkeypatch.setattr(config, "ABLATIONS", tmp_path / "ablations")
    with pytest.raises(InputError, match="variants: narrow changes model.flow_num_feat"):
        load_study(settings | {"variants": ["full", "narrow"]})


def test_flow_weights_may_be_left_unsaid(settings):
    del settings["flow_weights"]
    assert load_study(settings).settings["flow_weights"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics": ["psnr_rgb", "ssim_rgb", "psnr_y"]}, "evaluation.metrics: ssim_y is missing; the gate"),
        (
            {"metrics": ["psnr_rgb", "vmaf"]},
            "evaluation.metrics: unknown metric 'vmaf'; expected one of psnr_rgb, .*, tile_seam$",
        ),
        ({"tile_overlap": 16}, "evaluation.tile_overlap: 16 is not below full's feat_size 16"),
        ({"mode": "whole_frame"}, "evaluation.mode: whole_frame, but full's .* fixes the input size"),
    ],
)
def test_mistakes_that_would_show_after_training(settings, change, said):
    with pytest.raises(InputError, match=f"^study tiny: [^\n]*{said}"):
        load_study(settings | {"evaluation": settings["evaluation"] | change})


def test_whole_clips_are_bound_by_no_window_or_tile(settings):
    settings["variants"] = ["full", "basicvsr"]
    settings["networks"] = {"basicvsr": {"num_feat": 8, "num_blocks": 1, "feat_size": 32}}
    study = load_study(settings)
    assert study.min_clip_size() == {"min_frames": 3, "min_edge": 16}
    assert study.variants["basicvsr"].model.flow_num_feat == study.variants["full"].model.flow_num_feat
    settings["networks"]["basicvsr"]["flow_num_feat"] = 16
    with pytest.raises(InputError, match=r"variants: basicvsr changes model\.flow_num_feat, but a study has"):
        load_study(settings)


@pytest.mark.parametrize("command", ["plan", "status"])
def test_commands_about_networks_refuse_a_study_of_k_patterns(command, tmp_path):
    calls = {
        "plan": lambda: plan(study=STUDIES / "k_patterns.yaml"),
        "status": lambda: describe("k_patterns", tmp_path),
    }
    with pytest.raises(
        InputError, match=r"k_patterns.yaml: k_patterns: trains no video network; only `make study`"
    ):
        calls[command]()
