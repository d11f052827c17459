"""``manage.py federate STREAM``: one model from the rows of several servers, which stay there."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.model_registry.training import metrics_table
from lepton_apps.streaming.federation import coordinating, selectors
from lepton_apps.streaming.federation.coordinating import LEAST_SITES, Plan
from lepton_apps.verticals.contract import Progress, Stream
from models_core.federation import MOST_ROUNDS, Site
from models_core.privacy import Privacy
from models_core.spec import Scalar

TOKEN_BYTES: Final = 1_024  # of a file, at most
LOST: Final = "lost "  # how the stage begins that tells of a site that is gone


class Command(LeptonCommand):
    help = (
        "Coordinate a federation: servers train on their own labelled rows in rounds, their "
        "updates are seen as sums alone, and the result is judged on this server's rows and "
        "registered as a version without a role."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "federate fintech.transactions --site north=https://north.example "
        "--site south=https://south.example --token-file north=north.token "
        "--token-file south=south.token --rounds 20 --epsilon 6",
        "federate fintech.transactions --site a=https://a.example --site b=https://b.example "
        "--token-file a=a.token --token-file b=b.token --architecture mlp --param width=64 "
        "--recipe steps=50 --recipe batch_size=512",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        add("stream", help="a scored stream, which all sites have with the same features")
        add(
            "--site",
            action="append",
            default=[],
            metavar="NAME=URL",
            help="a server that takes part; two at least, better three",
        )
        add(
            "--token-file",
            action="append",
            default=[],
            metavar="NAME=FILE",
            help="a file with the token that the site's admin made for this",
        )
        add("--rounds", type=int, default=10, help="how often sites train (default: %(default)s)")
        add("--epsilon", type=float, help="privacy of every row over all rounds; default: none")
        add("--delta", type=float, default=1e-5, help="of --epsilon (default: %(default)s)")
        add("--clip", type=float, default=1.0, help="largest norm of one row's gradient")
        for option, what in (
            ("--recipe", "a setting of each round's training, such as steps=50"),
            ("--param", "a parameter of the architecture, such as width=64"),
        ):
            add(option, action="append", default=[], metavar="NAME=VALUE", help=what)
        add("--architecture", default="", help="of the model (default: the champion's)")
        add(
            "--wait",
            type=float,
            default=900.0,
            metavar="SECONDS",
            help="for a site's answer; one that takes longer is lost (default: %(default)s)",
        )
        add("--plain-http", action="store_true", help="send tokens over http, unprotected")

    def handle(self, *, stream: str, **options: Any) -> None:
        declared = selectors.stream_named(stream)
        plan = self._plan(declared, options)
        lost: list[str] = []
        with self.progress() as progress:
            version = coordinating.coordinate(declared, plan, _hearing(progress, lost))
        for sentence in lost:
            self.say(f"{sentence[0].upper()}{sentence[1:]}")
        facts = _facts(version)
        self.say("\n".join(["", *metrics_table(version), ""]))
        self.answer(
            facts,
            f"{version} registered, of {facts['federated']['rounds']} rounds with "
            f"{', '.join(facts['federated']['sites'])}. It has no role.",
            f"Promote it with: manage.py promote_model {version.model_name} {version.number}",
        )

    def _plan(self, stream: Stream, options: dict[str, Any]) -> Plan:
        self.between("--rounds", options["rounds"], 1, MOST_ROUNDS)
        self.between("--wait", options["wait"], 1.0, 86_400.0)
        privacy = None
        if options["epsilon"] is not None:
            try:
                privacy = Privacy(options["epsilon"], options["delta"], options["clip"])
            except ValueError as exc:
                self.refuse(str(exc))
        # A round is looked at once, at its end.
        settings = {"steps": 50, **self._settings("--recipe", options["recipe"])}
        return Plan(
            sites=self._sites(stream, options),
            rounds=options["rounds"],
            recipe=settings,
            architecture=options["architecture"],
            params=self._settings("--param", options["param"]),
            privacy=privacy,
        )

    def _sites(self, stream: Stream, options: dict[str, Any]) -> list[Site]:
        urls = self._pairs("--site", options["site"])
        files = self._pairs("--token-file", options["token_file"])
        if len(urls) < LEAST_SITES:
            self.refuse(
                f"--site was given for {len(urls)} sites. It takes {LEAST_SITES}: a sum of one would "
                "show its part."
            )
        if urls.keys() != files.keys():
            wrong = sorted(urls.keys() ^ files.keys())[0]
            self.refuse(f"{wrong!r} needs both --site {wrong}=URL and --token-file {wrong}=FILE.")
        wait_s, plain = options["wait"], options["plain_http"]
        return [
            coordinating.site_at(
                name, url, self._token(name, files[name]), stream, wait_s, plain=plain
            )
            for name, url in urls.items()
        ]

    def _token(self, name: str, file: str) -> str:
        try:
            with Path(file).open("rb") as opened:
                text = opened.read(TOKEN_BYTES + 1).decode().strip()
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is no text"
            self.refuse(f"--token-file {name}={file}: {why}.")
        if not text or len(text) > TOKEN_BYTES or not text.isascii() or len(text.split()) != 1:
            self.refuse(f"--token-file {name}={file} holds no token: one word, as it was shown.")
        return text

    def _pairs(self, option: str, given: list[str]) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for each in given:
            name, equals, value = each.partition("=")
            if not equals or not name or not value:
                self.refuse(f"{option} {each[:80]!r} is not NAME=VALUE.")
            if name in pairs:
                self.refuse(f"{option} names {name!r} twice.")
            pairs[name] = value
        return pairs

    def _settings(self, option: str, given: list[str]) -> dict[str, Scalar]:
        return {name: _scalar(text) for name, text in self._pairs(option, given).items()}


def _scalar(text: str) -> Scalar:
    """A number or a boolean as JSON has it; everything else is a word."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _hearing(progress: Progress, lost: list[str]) -> Progress:
    """The same progress, which keeps what was said of lost sites for the end."""

    def tell(stage: str, done: int, total: int) -> None:
        if stage.startswith(LOST):
            lost.append(stage)
        else:
            progress(stage, done, total)

    return tell


def _facts(version: ModelVersion) -> dict[str, Any]:
    return {
        "model": version.model_name,
        "version": version.number,
        "stream": version.stream,
        "federated": version.manifest["federated"],
        "privacy": version.manifest.get("privacy"),
        "metrics": version.metrics,
        "baseline": version.baseline,
    }
