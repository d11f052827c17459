"""``manage.py doctor``: what is misconfigured or in a bad way, and what to do about it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from lepton_apps.common.commands import REFUSED, UNAVAILABLE, LeptonCommand
from lepton_apps.doctor.checks import CHECKS
from lepton_apps.doctor.findings import Finding, Verdict, examine, worst

BAD = (Verdict.WARNING, Verdict.PROBLEM, Verdict.UNREACHABLE)


class Command(LeptonCommand):
    help = (
        "Look at settings, files, database, broker and work, and say what is wrong and what to do. "
        "Changes nothing. Exit code: 0 nothing or warnings, 1 problems, 3 a server is away."
    )
    examples = ("doctor", "doctor --only database --only work", "doctor --json")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--only",
            action="append",
            default=[],
            metavar="NAME",
            help="environment, database, broker, work, or one check; may be repeated",
        )
        super().add_arguments(parser)

    def handle(self, *, only: list[str], **options: Any) -> None:
        areas = {check.name.partition(".")[0] for check in CHECKS}
        for name in only:
            self.known("check", name, areas | {check.name for check in CHECKS})
        needed = set(only) | {
            need
            for check in CHECKS
            for need in check.needs
            if {check.name, check.name.partition(".")[0]} & set(only)
        }
        chosen = [
            check
            for check in CHECKS
            if not only or {check.name, check.name.partition(".")[0]} & needed
        ]
        findings = []
        for finding in examine(chosen):
            findings.append(finding)
            self._tell(finding)
        counts = {verdict: sum(f.verdict is verdict for f in findings) for verdict in Verdict}
        verdict = worst(findings)
        summary = (
            f"{counts[Verdict.PROBLEM] + counts[Verdict.UNREACHABLE]} problems, "
            f"{counts[Verdict.WARNING]} warnings, {counts[Verdict.OK]} fine, "
            f"{counts[Verdict.SKIPPED]} not looked at."
        )
        self.answer(
            {
                "verdict": verdict,
                **{each.value: count for each, count in counts.items()},
                "findings": [
                    {"check": f.check, "verdict": f.verdict, "found": f.found, "do": f.do}
                    for f in findings
                ],
            },
        )
        if verdict in (Verdict.PROBLEM, Verdict.UNREACHABLE):
            code = UNAVAILABLE if verdict is Verdict.UNREACHABLE else REFUSED
            raise CommandError(f"Not well: {summary}", returncode=code)
        self.say(f"Well: {summary}")

    def _tell(self, finding: Finding) -> None:
        if finding.verdict is Verdict.SKIPPED:
            return
        self.say(f"{finding.verdict:<11} {finding.check:<24} {finding.found}")
        if finding.do and finding.verdict in BAD:
            self.say(f"{'':<11} {'':<24} -> {finding.do}")
