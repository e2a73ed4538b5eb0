"""The folder with a page for a browser: the graphs, the page's files, and two packages of npm."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from consistency_tta.runtime.errors import MissingExtraError

PAGE = Path(__file__).with_name("page")
#: Packages of npm, with the files of each that the page loads.
PACKAGES = {
    "onnxruntime-web@1.30.0": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "@huggingface/tokenizers@0.2.0": ("tokenizers.min.mjs",),
}


def write_page(folder: Path) -> None:
    """Write everything but the graphs, the tokenizer and the manifest.

    Args:
        folder: of the page.

    Raises:
        MissingExtraError: if there is no npm, or it cannot fetch a package.
    """
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    vendor = folder / "vendor"
    vendor.mkdir()
    for package, files in PACKAGES.items():
        with TemporaryDirectory() as temporary, tarfile.open(_fetch(package, Path(temporary))) as archive:
            for file in files:
                content = archive.extractfile(f"package/dist/{file}")
                assert content is not None  # a file, not a folder
                (vendor / file).write_bytes(content.read())


def _fetch(package: str, folder: Path) -> Path:
    """The archive of a package, which npm checks against the registry's checksum."""
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtraError("expected npm on the PATH, which fetches onnxruntime-web: install Node.js")
    command = [npm, "pack", package, "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise MissingExtraError(f"npm could not fetch {package}: {(done.stderr or done.stdout).strip()[-500:]}")
    return next(folder.glob("*.tgz"))
