"""How the work stands: models, halts, workers, dead letters, gaps, accounts nobody has opened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Count, Max

from lepton_apps.accounts.models import OneTimePassword
from lepton_apps.common import clock
from lepton_apps.doctor.database import asking
from lepton_apps.doctor.findings import Finding, ok, problem, warning
from lepton_apps.model_registry.serving import ModelSource, NoChampionError
from lepton_apps.streaming.models import DeadLetter, OffsetGap, StreamHalt, WorkerHeartbeat
from lepton_apps.streaming.selectors import GAPS_SHOWN_FOR
from lepton_apps.verticals import registry

SILENT = timedelta(seconds=60)  # a beat comes every few seconds
FORGOTTEN = timedelta(days=1)  # a worker that died so long ago is history
UNUSED = timedelta(days=7)


def champions() -> Iterator[Finding]:
    """Each stream's champion, loaded and held against its golden rows as a worker would."""
    asking()
    fine = []
    for vertical in registry.verticals():
        for stream in vertical.streams:
            try:
                served = ModelSource(stream).current()
            except NoChampionError as exc:
                yield problem(
                    exc.detail, "manage.py train_starters; or train_model, then promote_model."
                )
            else:
                fine.append(f"{stream.name} v{served.number}")
    if fine:
        yield ok(f"Champions load and give their golden rows: {', '.join(fine)}.")


def halts() -> Iterator[Finding]:
    asking()
    found = list(StreamHalt.objects.filter(resumed_at=None).order_by("at"))
    for halt in found:
        yield problem(
            f"{halt.stream} has been halted since {halt.at:%Y-%m-%d %H:%M} UTC: {halt.reason}",
            f"Mend its producer, then manage.py resume {halt.stream}",
        )
    if not found:
        yield ok("No stream is halted.")


def workers() -> Iterator[Finding]:
    asking()
    now = clock.now()
    fine = True
    for vertical in registry.verticals():
        for stream in vertical.all_streams:
            rows = WorkerHeartbeat.objects.filter(
                stream=stream.name, beat_at__gte=now - FORGOTTEN
            ).exclude(condition="stopped")
            alive = [row for row in rows if row.beat_at >= now - SILENT]
            silent = [row for row in rows if row.beat_at < now - SILENT]
            for row in silent:
                fine = False
                say = warning if alive else problem
                yield say(
                    f"The worker of {stream.name} on {row.host} (pid {row.pid}) has been silent "
                    f"since {row.beat_at:%Y-%m-%d %H:%M} UTC.",
                    "Nothing, where another took over. Otherwise look at its log, and start it: "
                    f"manage.py worker {stream.name}",
                )
            for row in alive:
                if row.condition == "waiting":
                    fine = False
                    yield warning(
                        f"The worker of {stream.name} on {row.host} waits: {row.detail}",
                        "See docs/troubleshooting.md, Streams and workers.",
                    )
            if not rows:
                fine = False
                yield warning(f"Nobody reads {stream.name}.", f"manage.py worker {stream.name}")
    if fine:
        yield ok("Every stream has a worker, and all of them speak.")


def dead_letters() -> Iterator[Finding]:
    asking()
    found = list(
        DeadLetter.objects.filter(status=DeadLetter.Status.NEW)
        .values("stream")
        .annotate(count=Count("id"), newest=Max("failed_at"))
        .order_by("stream")
    )
    for row in found:
        yield warning(
            f"{row['count']} dead letters of {row['stream']} wait, the newest of "
            f"{row['newest']:%Y-%m-%d %H:%M} UTC.",
            f"Look at them on the streams page, then manage.py redrive {row['stream']}",
        )
    if not found:
        yield ok("No dead letters wait.")


def gaps() -> Iterator[Finding]:
    asking()
    since = clock.now() - GAPS_SHOWN_FOR
    found = list(OffsetGap.objects.filter(noticed_at__gte=since).order_by("noticed_at"))
    for gap in found[-5:]:
        yield warning(
            f"{gap.stream} partition {gap.partition}: {gap.lost} records were lost unread "
            f"({gap.kind}), noticed {gap.noticed_at:%Y-%m-%d %H:%M} UTC.",
            "Longer retention of its topic than the longest outage: docs/operations.md, Gaps.",
        )
    if not found:
        yield ok(f"No records were lost in the last {GAPS_SHOWN_FOR.days} days.")


def unused_passwords() -> Iterator[Finding]:
    asking()
    old = OneTimePassword.objects.filter(
        created_at__lt=clock.now() - UNUSED, user__is_active=True
    ).select_related("user")
    names = [password.user.get_username() for password in old.order_by("created_at")]
    for name in names:
        yield warning(
            f"The one-time password of {name} was made more than {UNUSED.days} days ago and never "
            "used.",
            f"Whoever has it can take the account. A new one voids it: manage.py reset_password {name}",
        )
    if not names:
        yield ok("No one-time password has been lying about.")
