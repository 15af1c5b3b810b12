"""The part of a BioImage.IO 0.5 model description that dimstream uses.

Other fields of the standard are ignored, so these models, unlike all others here, accept unknown keys.
`declared_processing` checks every key that affects pixels.
"""

import re
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dimstream_models.bundle.errors import InvalidBundle, UnknownFormatVersion, UnsupportedModel
from dimstream_models.bundle.schema import FORMAT_VERSION, DimstreamConfig, Sha256

STANDARD_VERSION = "0.5.4"
"""Version of the standard that `write_bundle` follows."""
KNOWN_STANDARD = re.compile(r"0\.5\.\d{1,3}")
MAX_SIDE = 2**20
MAX_ID = 200
"""Most characters of an id; ids are part of every header and of URLs."""

Validated = TypeVar("Validated", bound=BaseModel)


class FromStandard(BaseModel):
    """Frozen data in the standard's shape."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Tolerance(FromStandard):
    """Largest difference of a pixel from the test output: ``absolute + relative * |test output|``, counts."""

    relative_tolerance: float = Field(default=1e-3, ge=0, le=1e-2)
    absolute_tolerance: float = Field(default=1e-3, ge=0)
    output_ids: tuple[str, ...] = ()
    weights_formats: tuple[str, ...] = ()

    def concerns(self, output_id: str) -> bool:
        """True when it applies to the ONNX weights and the output."""
        formats, outputs = self.weights_formats, self.output_ids
        return (not formats or "onnx" in formats) and (not outputs or output_id in outputs)


class BioimageioConfig(FromStandard):
    """``config.bioimageio``, which the standard defines."""

    reproducibility_tolerance: tuple[Tolerance, ...] = ()


class FileEntry(FromStandard):
    """A file that the description names."""

    source: str
    sha256: Sha256 | None = None

    @property
    def is_remote(self) -> bool:
        """True for a web address, which is not part of the bundle."""
        return "://" in self.source


def _spelled_out(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


File = Annotated[FileEntry, BeforeValidator(_spelled_out)]
Side = Annotated[int, Field(gt=0, le=MAX_SIDE)]


class Series(FromStandard):
    """Sides ``min + n * step``."""

    min: Side
    step: Side


class SameAs(FromStandard):
    """A side given by another axis."""

    tensor_id: str
    axis_id: str
    offset: int = 0


class Axis(FromStandard):
    """One axis of a tensor."""

    type: str
    id: str | None = None
    size: Side | Series | SameAs | None = None
    channel_names: tuple[str, ...] | None = None
    scale: float = 1.0
    halo: int = 0

    @property
    def letter(self) -> str:
        """``b``, ``c``, or the id of a space axis."""
        if self.type in ("batch", "channel"):
            return self.type[0]
        return (self.id or "x") if self.type == "space" else f"{self.type}:{self.id or self.type}"


class ProcessingEntry(FromStandard):
    """A processing step as the description writes it."""

    id: str
    settings: dict[str, Any] = Field(default_factory=dict, validation_alias=AliasChoices("kwargs"))


class Data(FromStandard):
    """Description of a tensor's values."""

    type: str = "float32"


class Tensor(FromStandard):
    """An input or output."""

    id: str
    axes: tuple[Axis, ...]
    test_tensor: File | None = None
    data: Data | tuple[Data, ...] = Data()
    preprocessing: tuple[ProcessingEntry, ...] = ()
    postprocessing: tuple[ProcessingEntry, ...] = ()

    @property
    def dtype(self) -> str:
        """Type of the described values: before preprocessing, after postprocessing."""
        if isinstance(self.data, Data):
            return self.data.type
        return self.data[0].type if self.data else Data().type


class OnnxEntry(FileEntry):
    """The weights."""

    external_data: File | None = None


class Weights(FromStandard):
    """Weights; formats other than ONNX are ignored."""

    onnx: OnnxEntry | None = None


class Description(FromStandard):
    """A model description."""

    name: str = Field(min_length=1, max_length=128)
    id: str | None = Field(default=None, max_length=MAX_ID)
    description: str = Field(default="", max_length=1024)
    documentation: File | None = None
    covers: tuple[File, ...] = ()
    attachments: tuple[File, ...] = ()
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: Weights
    config: dict[str, Any] = Field(default_factory=dict)


def parse_description(raw: dict[str, Any], *, name: str) -> Description:
    """Return the description in `raw`, of a known version.

    Raises
    ------
    UnknownFormatVersion, UnsupportedModel, InvalidBundle
    """
    version = raw.get("format_version")
    if not isinstance(version, str) or not KNOWN_STANDARD.fullmatch(version):
        raise UnknownFormatVersion(
            f"{name}: format_version is {version!r:.80}; expected 0.5.0 or a later 0.5 version of BioImage.IO"
        )
    if raw.get("type") != "model":
        raise UnsupportedModel(f"{name} describes a {raw.get('type')!r:.80}; expected type: model")
    return _validated(Description, raw, where=name)


def parse_tolerance(described: Description) -> Tolerance:
    """Return the tolerance of ``config.bioimageio`` for the only output, or the standard's default.

    Raises
    ------
    InvalidBundle
    """
    where = "config.bioimageio"
    stated = _validated(BioimageioConfig, described.config.get("bioimageio") or {}, where=where)
    concerning = (each for each in stated.reproducibility_tolerance if each.concerns(described.outputs[0].id))
    return next(concerning, Tolerance())


def parse_config(described: Description) -> DimstreamConfig | None:
    """Return ``config.dimstream``, or None when the bundle has none.

    Raises
    ------
    UnknownFormatVersion, InvalidBundle
    """
    if "dimstream" not in described.config:
        return None
    raw = described.config["dimstream"]
    where = "config.dimstream"
    if not isinstance(raw, dict):
        raise InvalidBundle(f"{where} must be a mapping, got {raw!r:.80}")
    version = raw.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise UnknownFormatVersion(
            f"{where}.format_version is {version!r:.80}; expected {FORMAT_VERSION}: install the version of "
            "dimstream that wrote the bundle, or a later one"
        )
    return _validated(DimstreamConfig, raw, where=where)


def _validated(model: type[Validated], raw: Any, *, where: str) -> Validated:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole)"
        shown = repr(first["input"])[:80]
        raise InvalidBundle(f"{where}: {field}: {first['msg']}; got {shown}") from error
