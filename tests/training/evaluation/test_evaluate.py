"""The shipped bundle on real files: each figure against its own definition, computed here once more."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import stats
from shipped import BUNDLE
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dimstream_models.bundle import Clip, read_bundle
from dimstream_models.training.cli import main
from dimstream_models.training.errors import CannotEvaluate, InvalidPairs
from dimstream_models.training.evaluation.evaluate import Evaluation, evaluate
from dimstream_models.training.evaluation.filters import tune_filters, tune_rivals
from dimstream_models.training.evaluation.metric_tables import (
    METRICS,
    Figure,
    Kind,
    Row,
    absences,
    differences,
    summarise,
)
from dimstream_models.training.evaluation.resolving import HALVES, RECORDINGS
from dimstream_models.training.evaluation.restoring import restorer
from dimstream_models.training.evaluation.scoring import AGAINST_TRUTH, NO_SCALE, ScoringSettings
from dimstream_models.training.evaluation.writing import write_report
from dimstream_models.training.export.measured_quality import read_quality
from dimstream_models.training.metrics.decorrelation import decorrelation
from dimstream_models.training.metrics.frc import rolling_frc
from dimstream_models.training.pairs.pair_reader import read_pairs
from dimstream_models.training.pairs.prepare_folder import prepare
from dimstream_models.training.pairs.prepared import PrepareSettings, read_prepared

pytestmark = pytest.mark.slow

Floats = NDArray[np.float64]
FIELD = "day1/field3"


def _row(evaluation: Evaluation, kind: Kind, image: str = FIELD) -> Row:
    (found,) = (row for row in evaluation.rows if (row.image, row.kind) == (image, kind))
    return found


def _values(row: Row) -> Mapping[str, float | None]:
    return {key: figure.value for key, figure in row.figures.items()}


def _field(pairs: Path) -> tuple[NDArray[np.uint16], Floats, Floats]:
    """Return low, truth and what the service delivers of one field."""
    low, high = (tifffile.imread(pairs / dose / "field3.tif") for dose in ("low", "high"))
    return low, high.astype(float), restorer(read_bundle(BUNDLE))(low).astype(float)


def _closeness(image: Floats, truth: Floats) -> Mapping[str, float | None]:
    span = float(truth.max() - truth.min())
    return {
        "ssim": structural_similarity(truth, image, data_range=span),
        "mae": float(np.mean(np.abs(image - truth))),
        "pearson": stats.pearsonr(image.ravel(), truth.ravel()).statistic,
        "psnr": peak_signal_noise_ratio(truth, image, data_range=span),
    }


def test_each_kind_has_the_figures_of_its_definition(evaluation: Evaluation, pairs: Path) -> None:
    low, truth, prediction = _field(pairs)
    images = {
        "noisy": np.polyval(np.polyfit(low.ravel().astype(float), truth.ravel(), 1), low.astype(float)),
        "prediction": prediction,
        "fitted": np.polyval(np.polyfit(prediction.ravel(), truth.ravel(), 1), prediction),
    }
    for kind, image in images.items():
        found = _values(_row(evaluation, kind))
        assert {key: found[key] for key in _closeness(image, truth)} == pytest.approx(
            _closeness(image, truth), rel=1e-9
        )
        assert _row(evaluation, kind).data_range == truth.max() - truth.min()


def test_the_lines_are_kept_beside_the_figures(evaluation: Evaluation, pairs: Path) -> None:
    low, truth, prediction = _field(pairs)
    assert _row(evaluation, "noisy").line == pytest.approx(np.polyfit(low.ravel(), truth.ravel(), 1))
    assert _row(evaluation, "fitted").line == pytest.approx(np.polyfit(prediction.ravel(), truth.ravel(), 1))
    assert _row(evaluation, "prediction").line is None


def test_resolution_is_of_each_image_and_of_prediction_against_truth(
    evaluation: Evaluation, pairs: Path
) -> None:
    low, truth, prediction = _field(pairs)
    for kind, image in (("noisy", low), ("prediction", prediction), ("truth", truth)):
        found = _values(_row(evaluation, kind))
        assert found["decorrelation"] == decorrelation(image).resolution_px
    mapped = rolling_frc(prediction, truth, skip=8)
    found = _values(_row(evaluation, "prediction"))
    assert (found["truth_rfrc_mean"], found["truth_rfrc_min"]) == (mapped.mean_px, mapped.minimum_px)


def test_halves_of_the_photons_are_correlated_where_there_is_one_recording(evaluation: Evaluation) -> None:
    assert _row(evaluation, "truth").correlated == _row(evaluation, "noisy").correlated == HALVES
    assert _row(evaluation, "prediction").correlated == f"the predictions of {HALVES}"
    noisy, truth = (_values(_row(evaluation, kind))["rfrc_mean"] for kind in ("noisy", "truth"))
    assert noisy is not None
    assert truth is not None
    assert truth < noisy  # seventy times the photons show finer detail
    assert _row(evaluation, "floor").correlated == ""


def test_two_recordings_are_correlated_where_there_are_two(
    evaluation: Evaluation, one: Path, one_again: Path
) -> None:
    found = evaluate(read_bundle(BUNDLE), one, again=one_again, settings=ScoringSettings(skip=8))
    noisy, prediction, _, truth, *_ = found.rows
    low, high = ([_image(each, dose) for each in (one, one_again)] for dose in ("low", "high"))
    assert _values(truth)["rfrc_mean"] == rolling_frc(*high, skip=8).mean_px
    assert (noisy.correlated, prediction.correlated) == (RECORDINGS, f"the predictions of {RECORDINGS}")
    restored = [restorer(read_bundle(BUNDLE))(image) for image in low]
    assert _values(prediction)["rfrc_mean"] == rolling_frc(*restored, skip=8).mean_px
    halves = _values(_row(evaluation, "truth"))["rfrc_mean"]
    assert halves is not None
    assert _values(truth)["rfrc_mean"] < halves  # twice the photons, finer detail


def _image(listed: Path, dose: str) -> NDArray[np.uint16]:
    return np.asarray(tifffile.imread(listed.parent / "day1" / dose / "field3.tif"))


def test_the_floor_lies_above_the_prediction(evaluation: Evaluation) -> None:
    for row in (row for row in evaluation.rows if row.kind == "floor"):
        floor, prediction = _values(row), _values(_row(evaluation, "prediction", row.image))
        for key in ("ssim", "psnr", "pearson"):
            assert floor[key] > prediction[key], key
        assert floor["mae"] < prediction["mae"]


def test_the_same_command_gives_the_same_figures(one: Path) -> None:
    bundle, settings = read_bundle(BUNDLE), ScoringSettings(skip=16)
    found = evaluate(bundle, one, settings=settings)
    assert evaluate(bundle, one, settings=settings).rows == found.rows
    other = evaluate(bundle, one, settings=replace(settings, seed=1))
    assert _values(other.rows[0])["ssim"] == _values(found.rows[0])["ssim"]
    assert _values(other.rows[0])["frc"] != _values(found.rows[0])["frc"]
    assert _values(other.rows[4])["ssim"] != _values(found.rows[4])["ssim"]


def test_the_data_range_and_the_line_are_as_set(one: Path, pairs: Path) -> None:
    settings = ScoringSettings(skip=16, data_range=255.0, line=((1.0, 2.0), (40.0, 50.0)))
    found = evaluate(read_bundle(BUNDLE), one, settings=settings)
    _, truth, prediction = _field(pairs)
    expected = peak_signal_noise_ratio(truth, prediction, data_range=255.0)
    assert _values(found.rows[1])["psnr"] == pytest.approx(expected)
    assert [shown.line for _, shown in found.shown] == [settings.line]


def test_a_perceptual_distance_is_taken_of_what_is_compared(one: Path, pairs: Path) -> None:
    def distance(prediction: Floats, truth: Floats, *, data_range: float) -> float:
        return float(np.abs(prediction - truth).max() / data_range)

    found = evaluate(read_bundle(BUNDLE), one, settings=ScoringSettings(skip=16), lpips=distance)
    _, truth, prediction = _field(pairs)
    expected = np.abs(prediction - truth).max() / np.ptp(truth)
    assert _values(found.rows[1])["lpips"] == pytest.approx(expected)
    assert [row.kind for row in found.rows if _values(row).get("lpips") is None] == ["truth"]


def test_shown_are_median_best_and_worst(evaluation: Evaluation) -> None:
    ssim = {row.image: _values(row)["ssim"] for row in evaluation.rows if row.kind == "fitted"}
    order = sorted(ssim, key=lambda image: ssim[image] or 0)
    assert [shown.name for _, shown in evaluation.shown] == [order[2], order[-1], order[0]]
    assert [why.split()[4] for why, _ in evaluation.shown] == ["median", "highest", "lowest"]


def test_the_summary_is_numpys_and_scipys(evaluation: Evaluation) -> None:
    (found,) = (
        each for each in summarise(evaluation.rows) if (each.metric.key, each.kind) == ("psnr", "noisy")
    )
    values = [_values(row)["psnr"] for row in evaluation.rows if row.kind == "noisy"]
    assert found.n == 5
    assert (found.lower_quartile, found.median, found.upper_quartile) == pytest.approx(
        np.percentile(values, [25, 50, 75])
    )
    assert (found.mean, found.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert found.shapiro_wilk.p == pytest.approx(stats.shapiro(values).pvalue)
    nanometres = [each for each in summarise(evaluation.rows) if each.metric.key == "decorrelation"]
    assert {each.unit for each in nanometres} == {"nm"}
    in_px = [_values(row)["decorrelation"] for row in evaluation.rows if row.kind == "truth"]
    assert nanometres[-1].median == pytest.approx(20 * np.median(in_px))


def test_the_differences_are_scipys(evaluation: Evaluation) -> None:
    tested = {
        (each.metric.key, each.first, each.second): each.outcome for each in differences(evaluation.rows)
    }
    noisy, prediction = (
        [_values(row)["ssim"] for row in evaluation.rows if row.kind == kind]
        for kind in ("noisy", "prediction")
    )
    expected = stats.mannwhitneyu(noisy, prediction).pvalue
    assert tested["ssim", "noisy", "prediction"].p == pytest.approx(expected)
    assert tested["ssim", "noisy", "prediction"].mark == "**"  # five wholly apart from five: p = 2 / 252
    assert ("rfrc_mean", "truth", "prediction") in tested
    assert ("mae", "truth", "prediction") not in tested


def test_a_bundle_without_scale_has_scale_free_figures_only(one: Path) -> None:
    bundle = read_bundle(BUNDLE)
    bare = replace(
        bundle, postprocessing=(Clip(-1e6, 1e6),), config=None, test_output=_bare_output(bundle.source)
    )
    found = evaluate(bare, one, settings=ScoringSettings(skip=16))
    prediction = found.rows[1].figures
    for key in ("ssim", "mae", "psnr", "lpips"):
        assert (prediction[key].value, prediction[key].reason) == (None, NO_SCALE)
    for key in ("pearson", "decorrelation", "truth_frc"):
        assert prediction[key].value is not None
    assert _values(found.rows[2])["ssim"] is not None


def _bare_output(source: Path) -> NDArray[np.float32]:
    bundle = read_bundle(source)
    assert bundle.gain is not None
    assert bundle.offset is not None
    restore = restorer(replace(bundle))
    return ((restore(bundle.test_input[0, 0]) - bundle.offset) / bundle.gain)[None, None]


def test_what_is_no_photon_count_has_no_floor_and_is_correlated_with_the_truth_alone(
    pairs: Path, tmp_path: Path
) -> None:
    for dose in ("low", "high"):
        (tmp_path / dose).mkdir()
        counts = tifffile.imread(pairs / dose / "field3.tif").astype(np.uint16)
        tifffile.imwrite(tmp_path / dose / "field3.tif", 5 * counts, photometric="minisblack")
    found = evaluate(read_bundle(BUNDLE), tmp_path, settings=ScoringSettings(skip=8))
    floor, prediction = found.rows[4], found.rows[1]
    assert floor.kind == "floor"
    for figure in (floor.figures["ssim"], prediction.figures["rfrc_mean"]):
        assert figure.value is None
        assert "variance/mean" in figure.reason
    assert prediction.figures["truth_rfrc_mean"].value is not None
    assert found.shown[0][1].correlated == AGAINST_TRUTH


def test_every_absent_figure_says_why(evaluation: Evaluation, tmp_path: Path) -> None:
    tiny = tmp_path / "tiny"
    for dose in ("low", "high"):
        (tiny / dose).mkdir(parents=True)
        counts = np.random.default_rng(0).poisson(9.0, (6, 20)).astype(np.uint16)
        tifffile.imwrite(tiny / dose / "a.tif", counts, photometric="minisblack")
    small = evaluate(read_bundle(BUNDLE), tiny)
    for row in (*evaluation.rows, *small.rows):
        assert row.figures.keys() <= {metric.key for metric in METRICS}
        assert all((figure.value is None) == bool(figure.reason) for figure in row.figures.values())
    assert "sides of at least 7 px" in small.rows[0].figures["ssim"].reason


def test_of_a_prepared_folder_the_test_fields_are_taken(pairs: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    shares = [
        "--no-registration",
        "--test-share",
        "0.2",
        "--validation-share",
        "0.2",
        "--pixel-size-nm",
        "25",
    ]
    assert main(["prepare", str(pairs), "--out", str(prepared), *shares]) == 0
    (field,) = read_prepared(prepared).of("test")
    found = evaluate(read_bundle(BUNDLE), prepared, settings=ScoringSettings(skip=16))
    assert {row.image for row in found.rows} == {field.name}
    assert {row.pixel_size_nm for row in found.rows} == {25.0}
    assert found.pairs == f"{prepared} (test fields)"


def test_of_several_reasons_the_most_frequent_is_told() -> None:
    reasons = ["too few counts", "an average", "an average", "a camera"]
    rows = [
        Row(str(number), "day", "floor", {"ssim": Figure(None, reason)}, 1.0, None)
        for number, reason in enumerate(reasons)
    ]
    (found,) = absences(rows)
    assert (found.images, found.reason) == (4, "an average (and 2 other reasons)")


REFUSED: Mapping[str, tuple[dict[str, NDArray[np.float64] | None], type[Exception], str]] = {
    "no truth": ({"high": None}, CannotEvaluate, "expected a pair with a truth"),
    "flat truth": ({"high": np.full((64, 64), 3.0)}, CannotEvaluate, "a constant image of 3"),
    "unequal": ({"high": np.eye(65)}, InvalidPairs, "one shape"),
    "not finite": ({"low": np.full((64, 64), np.nan)}, InvalidPairs, "finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_pair_is_refused_by_name(case: str, tmp_path: Path) -> None:
    changed, error, message = REFUSED[case]
    images: dict[str, NDArray[np.float64] | None] = {"low": np.eye(64), "high": np.eye(64)}
    images |= changed
    for dose, image in images.items():
        if image is not None:
            (tmp_path / dose).mkdir()
            tifffile.imwrite(tmp_path / dose / "field0.tif", image.astype(np.float32))
    with pytest.raises(error, match=f"field0.*{message}"):
        evaluate(read_bundle(BUNDLE), tmp_path)


def test_a_line_outside_is_refused_before_the_work(pairs: Path) -> None:
    settings = ScoringSettings(line=((0.0, 0.0), (0.0, 500.0)))
    with pytest.raises(CannotEvaluate, match=r"day1/field0: expected a line inside an image of \(96, 96\)"):
        evaluate(read_bundle(BUNDLE), pairs, settings=settings)


def test_a_second_recording_must_be_one(pairs: Path, one_again: Path) -> None:
    with pytest.raises(CannotEvaluate, match="same image as day1/field0"):
        evaluate(read_bundle(BUNDLE), pairs, again=pairs)
    with pytest.raises(CannotEvaluate, match=f"as many pairs in {one_again} as in {pairs}: one has 1"):
        evaluate(read_bundle(BUNDLE), pairs, again=one_again, settings=ScoringSettings(skip=32))


@pytest.mark.parametrize("wrong", [{"skip": 0}, {"skip": 33}, {"background": -1.0}, {"background": 255.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(CannotEvaluate, match="expected a skip from 1 to 32 px"):
        ScoringSettings(**wrong)


def test_the_best_filter_stands_beside_the_model_and_the_sentence_comes_first(
    evaluation: Evaluation, pairs: Path, tmp_path: Path
) -> None:
    rivals = evaluation.rivals
    assert rivals is not None
    assert rivals.tuned_on == "the other half of the pairs"
    over_noisy, over_filter = [], []
    for index, pair in enumerate(read_pairs(pairs)):
        truth = np.asarray(pair.high, float).ravel()
        errors = []
        for image in (restorer(read_bundle(BUNDLE))(pair.low), pair.low, rivals.of(index)(pair.low)):
            x = np.asarray(image, float).ravel()
            errors.append(np.mean((np.polyval(np.polyfit(x, truth, 1), x) - truth) ** 2))
        over_noisy.append(10 * np.log10(errors[1] / errors[0]))
        over_filter.append(10 * np.log10(errors[2] / errors[0]))
    figures = evaluation.figures("x")
    assert figures["x_over_noisy_db"] == pytest.approx(np.mean(over_noisy), abs=2e-3)
    assert figures["x_margin_db"] == pytest.approx(np.mean(over_filter), abs=2e-3)
    assert figures["x_margin_error_db"] == pytest.approx(np.std(over_filter, ddof=1) / 5**0.5, abs=2e-3)
    better = f"better than the noisy image by {np.mean(over_noisy):.1f} \u00b1 "
    assert evaluation.sentence.startswith(f"On 5 pairs the model is {better}")
    assert str(rivals) in evaluation.sentence
    write_report(evaluation, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["sentence"] == evaluation.sentence
    assert read_quality([tmp_path / "summary.json"]) == evaluation.figures("evaluated")
    page = (tmp_path / "report.html").read_text()
    assert page.index(escape(evaluation.sentence)) < page.index("<h2>Medians</h2>")
    assert "Tuned on the other half of the pairs." in page


def test_of_a_prepared_folder_filters_are_tuned_on_training_fields(pairs: Path, tmp_path: Path) -> None:
    shutil.copytree(pairs, tmp_path / "day2")
    prepare([tmp_path / "day2"], tmp_path / "prepared", PrepareSettings(fields_of_view="planes"))
    rivals = tune_rivals(tmp_path / "prepared", "test")
    assert rivals is not None
    assert rivals.tuned_on == "training fields"
    fields = read_prepared(tmp_path / "prepared")
    examples = [fields.open(field) for field in fields.of("training")]
    assert rivals.of(0) == rivals.of(1) == tune_filters(examples)[0]  # type: ignore[arg-type]
    again = tune_rivals(tmp_path / "prepared", "training")
    assert again is not None
    assert again.tuned_on == "validation fields"


def test_filters_of_a_lone_pair_are_said_to_be_flattered(one: Path) -> None:
    found = evaluate(read_bundle(BUNDLE), one, settings=ScoringSettings(skip=32))
    assert found.rivals is not None
    assert "the judged pair itself" in found.rivals.tuned_on
    assert "with unknown uncertainty" in found.sentence
