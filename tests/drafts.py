"""Parts of bundle drafts that several tests want: a cover, and a configuration whose figures mean nothing."""

import struct
import zlib

from dimstream_models.bundle import (
    Calibration,
    DimstreamConfig,
    InputNormalisation,
    Provenance,
    SsimSettings,
    Thresholds,
)


def png(width: int, height: int) -> bytes:
    """A grey ramp."""
    rows = b"".join(b"\0" + bytes(x % 256 for x in range(width)) for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def meaningless_config(*, structure_score: float | None = None) -> DimstreamConfig:
    """What `dimstream-train export` would have measured."""
    return DimstreamConfig(
        ssim=SsimSettings(normalisation="mean_absolute_deviation", data_range=8.0, window=7),
        thresholds=Thresholds(
            ssim=0.6, background_max=5, signal_min=25, window_px=10, structure_score=structure_score
        ),
        calibration=Calibration(
            method="none: a test",
            signal_pairs=1,
            dark_pairs=1,
            signal_quantiles={"0.5": 0.9},
            dark_quantiles={"0.5": 0.3},
            false_alarm_rate=0.0,
            auc=1.0,
            doses_photons=(1.0,),
            frame_interval_s=1.0,
            seed=0,
        ),
        input_normalisation=InputNormalisation(kind="maximum"),
        pixel_size_nm=20.0,
        dose_photons=(1.0, 1.0),
        provenance=Provenance(command="a test", seed=0, versions={}, git_commit=None, settings={}),
        quality={},
    )
