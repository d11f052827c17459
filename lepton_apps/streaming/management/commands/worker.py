"""``manage.py worker STREAM``: score the records of a stream, or keep its labels, until stopped."""

from __future__ import annotations

import gc
import signal
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.db import limit_transactions
from lepton_apps.common.metrics import serve_metrics
from lepton_apps.streaming.kafka import KafkaSource
from lepton_apps.streaming.labels import LabelWorker
from lepton_apps.streaming.loop import Loop
from lepton_apps.streaming.path import StreamPath
from lepton_apps.streaming.worker import Worker
from lepton_apps.verticals import registry

SWITCH_S = 0.0005
GC_THRESHOLD = 50_000  # new objects


class Command(LeptonCommand):
    help = (
        "Score the records of one stream, or keep the labels of one, until told to stop (SIGTERM, "
        "Ctrl-C). Start as many as wanted, on as many machines; they share the partitions."
    )
    examples = ("worker fintech.transactions", "worker fintech.labels --metrics-port 9102")
    speaks_json = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", help="a registered stream, for example fintech.transactions")
        parser.add_argument(
            "--metrics-port",
            type=int,
            default=settings.METRICS_PORT,
            metavar="PORT",
            help="serve Prometheus metrics there; 0: do not (default: METRICS_PORT)",
        )

    def handle(self, *, stream: str, metrics_port: int, **options: Any) -> None:
        self.between("--metrics-port", metrics_port, 0, 65_535)
        names = [each.name for owner in registry.verticals() for each in owner.all_streams]
        self.known("stream", stream, names)
        limit_transactions()
        worker = build(stream)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: worker.stop())
        try:
            serve_metrics(settings.METRICS_ADDRESS, metrics_port)
        except OSError as exc:
            self.refuse(f"--metrics-port {metrics_port}: {exc.strerror or exc}.")
        # The client reads the network on a thread of its own, which a busy batch must let in.
        sys.setswitchinterval(SWITCH_S)
        # A batch is thousands of objects that die together and hardly ever hold each other: looked
        # at every 700 new ones, as is usual, they cost a tenth of the worker's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        self.stdout.write(f"Worker of {stream} started.")
        worker.run()
        self.stdout.write("Stopped after the last full batch.")


def build(name: str) -> Loop:
    """The worker for a registered stream of either kind."""
    try:
        _, labels = registry.label_stream(name)
    except LookupError:
        pass
    else:
        return LabelWorker(name, lambda: KafkaSource(name, labels.topic))
    _, stream = registry.stream(name)
    # The kernels are compiled or loaded before the first record waits for them.
    path = StreamPath(name, cache_entities=settings.WORKER_STATE_CACHE)
    path.warm_up()
    return Worker(path, lambda: KafkaSource(name, stream.topic))
