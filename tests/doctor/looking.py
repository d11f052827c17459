"""A check as the doctor makes it: in a thread of its own, on the tests' servers."""

from __future__ import annotations

from lepton_apps.doctor.checks import CHECKS
from lepton_apps.doctor.findings import Check, Finding, Verdict, examine


def look(name: str) -> list[Finding]:
    """What one check finds, as if all that it needs were there."""
    (check,) = (each for each in CHECKS if each.name == name)
    return list(examine([Check(check.name, check.look)]))


def only(name: str, verdict: Verdict) -> Finding:
    """The one finding of that verdict."""
    (found,) = (finding for finding in look(name) if finding.verdict is verdict)
    assert verdict in (Verdict.OK, Verdict.SKIPPED) or found.do
    return found


def is_well(name: str) -> bool:
    return {finding.verdict for finding in look(name)} == {Verdict.OK}
