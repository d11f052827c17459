"""What can be known without a server: Python, packages, settings, files, the data folder."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured

from lepton_apps.common import env
from lepton_apps.doctor.findings import Finding, ok, problem, warning

LEAST_PYTHON = (3, 11)
REQUIREMENT = re.compile(
    r"^([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?==([\w.]+)(?:; (sys_platform == \"(\w+)\"))?"
)
SECRET_CHARACTERS = 32
SECRET_DIFFERENT = 12
LOCAL_HOSTS = {"localhost", "127.0.0.1", "[::1]", "testserver"}
LOW_BYTES, LOW_SHARE = 5 * 10**9, 0.10
OUT_BYTES = 10**9
FOR_OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


def python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        yield problem(f"Python {version} is too old.", f"Install Python {least} or newer.")
    else:
        yield ok(f"Python {version}.")


def packages() -> Iterator[Finding]:
    """Installed versions beside those that were tested together."""
    file = settings.BASE_DIR / "requirements.txt"
    if not file.is_file():
        yield ok("There is no requirements.txt beside the code to compare with.")
        return
    yield from compare_packages(file)


def compare_packages(file: Path) -> Iterator[Finding]:
    asked = 0
    install = f"{sys.executable} -m pip install -r {file}"
    for line in file.read_text(encoding="utf-8").splitlines():
        match = REQUIREMENT.match(line)
        if match is None or (match[4] and match[4] != sys.platform):
            continue
        asked += 1
        try:
            installed = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            yield problem(f"The package {match[1]} is not installed.", install)
            continue
        if installed.split("+")[0] != match[2]:  # torch adds which build it is
            yield warning(f"{match[1]} {installed} is installed, {match[2]} was tested.", install)
    yield ok(f"{asked} packages were looked at.")


def variables() -> Iterator[Finding]:
    """Variables that cannot be used, and such that nobody reads but look like one that is."""
    errors = env.noted_errors()
    for error in errors:
        yield problem(error, "Mend the variable: docs/settings.md has each with its span.")
    for given, meant in sorted(env.misspelt().items()):
        yield warning(f"{given} is set, and nobody reads it.", f"Did you mean {meant}?")
    if not errors:
        yield ok("All variables that are set can be used.")


def system_checks() -> Iterator[Finding]:
    found = [each for each in run_checks() if not each.is_silenced()]
    for each in found:
        say = problem if each.level >= ERROR else warning
        yield say(f"{each.id}: {each.msg}", each.hint or "See docs/troubleshooting.md.")
    if not found:
        yield ok("Apps and verticals fit together.")


def secret_key() -> Iterator[Finding]:
    try:
        key = settings.SECRET_KEY
    except ImproperlyConfigured:  # Django's word for an empty one
        key = ""
    make = "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    if not key:
        yield problem(
            "SECRET_KEY is not set: nobody can sign in.", f"Set it to what this says: {make}"
        )
    elif len(key) < SECRET_CHARACTERS or len(set(key)) < SECRET_DIFFERENT:
        yield problem(
            f"SECRET_KEY is weak ({len(key)} characters, {len(set(key))} different ones): sessions "
            "can be forged.",
            f"Set it to what this says, on all machines; everybody signs in again: {make}",
        )
    else:
        yield ok(
            f"SECRET_KEY has {len(key)} characters. Whether all machines have the same one cannot "
            "be known from here."
        )


def web() -> Iterator[Finding]:
    """What must be different where others than this machine use the console."""
    fine = True
    if settings.DEBUG:
        fine = False
        yield problem("DEBUG is on: error pages show settings and code.", "Unset DEBUG.")
    hosts = set(settings.ALLOWED_HOSTS)
    if "*" in hosts:
        fine = False
        yield warning(
            "ALLOWED_HOSTS=* takes any Host header.", "Name the hosts: ALLOWED_HOSTS=lepton.example"
        )
    if hosts - LOCAL_HOSTS:
        if not settings.SECURE_COOKIES:
            fine = False
            yield warning(
                f"The console is for {', '.join(sorted(hosts - LOCAL_HOSTS))}, and its cookies "
                "travel without TLS.",
                "End TLS in front and set SECURE_COOKIES=true.",
            )
        elif not settings.CSRF_TRUSTED_ORIGINS:
            fine = False
            yield warning(
                "CSRF_TRUSTED_ORIGINS is empty: behind a proxy that ends TLS, forms are refused.",
                "Set it, as CSRF_TRUSTED_ORIGINS=https://lepton.example",
            )
    if fine:
        yield ok(f"Hosts: {', '.join(sorted(hosts))}; DEBUG off.")


def static_files() -> Iterator[Finding]:
    missing = [
        (file, do)
        for file, do in (
            ("console/app.css", "Install the code again: a file of it is missing."),
            ("uplot/uPlot.min.css", "`npm ci` beside manage.py (`make setup` does it)."),
        )
        if finders.find(file) is None
    ]
    for file, do in missing:
        yield warning(f"The static file {file} is not there: pages lack styles or charts.", do)
    if not missing:
        yield ok("Static files of console and charts are there.")


def data_folder() -> Iterator[Finding]:
    folder: Path = settings.LEPTON_DATA_DIR
    if not folder.is_dir():
        yield problem(
            f"The data folder {folder} is not there.",
            f"mkdir -m 700 -p {folder}, or set LEPTON_DATA_DIR.",
        )
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield problem(
            f"The data folder {folder} cannot be written by this user: models are not cached.",
            f"chown it to user {os.geteuid()}, or set LEPTON_DATA_DIR.",
        )
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & FOR_OTHERS:
        yield warning(
            f"The data folder {folder} is open to others (mode {mode:o}); it has secrets.",
            f"chmod go-rw {folder}",
        )
    yield room(folder, "the data folder")


def room(folder: Path, what: str) -> Finding:
    """Whether there is room left on the disk of a folder."""
    usage = shutil.disk_usage(folder)
    share = usage.free / usage.total if usage.total else 0.0
    said = f"{usage.free / 1e9:.1f} GB ({share:.0%}) are free on the disk of {what} {folder}"
    make_room = "Make room: smaller RETENTION_*_DAYS and `manage.py retention`, or a larger disk."
    if usage.free < OUT_BYTES:
        return problem(f"{said}: PostgreSQL stops when it is full.", make_room)
    if usage.free < LOW_BYTES or share < LOW_SHARE:
        return warning(f"{said}.", make_room)
    return ok(f"{said}.")
