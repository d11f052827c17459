"""All checks, in the order in which they are made and told."""

from __future__ import annotations

from lepton_apps.doctor import broker, database, environment, work
from lepton_apps.doctor.findings import Check

DATABASE, BROKER, MIGRATIONS = "database.reachable", "broker.reachable", "database.migrations"
ON_DATABASE = (DATABASE,)

CHECKS: tuple[Check, ...] = (
    Check("environment.python", environment.python),
    Check("environment.packages", environment.packages),
    Check("environment.variables", environment.variables),
    Check("environment.apps", environment.system_checks),
    Check("environment.secret_key", environment.secret_key),
    Check("environment.web", environment.web),
    Check("environment.static_files", environment.static_files),
    Check("environment.data_folder", environment.data_folder),
    Check(DATABASE, database.reachable),
    Check("database.settings", database.server_settings, ON_DATABASE),
    Check("database.clocks", database.clocks, ON_DATABASE),
    Check("database.connections", database.connections, ON_DATABASE),
    Check(MIGRATIONS, database.migrations, ON_DATABASE),
    Check("database.partitions", database.partitions, ON_DATABASE),
    Check("database.old_snapshots", database.old_snapshots, ON_DATABASE),
    Check("database.sizes", database.sizes, ON_DATABASE),
    Check("database.bloat", database.bloat, ON_DATABASE),
    Check("database.listen", database.listening, ON_DATABASE),
    Check(BROKER, broker.reachable),
    Check("broker.topics", broker.topics, (BROKER,)),
    Check("broker.retention", broker.retention, (BROKER,)),
    Check("broker.positions", broker.positions, (BROKER, DATABASE)),
    Check("work.champions", work.champions, ON_DATABASE),
    Check("work.halts", work.halts, ON_DATABASE),
    Check("work.workers", work.workers, ON_DATABASE),
    Check("work.dead_letters", work.dead_letters, ON_DATABASE),
    Check("work.gaps", work.gaps, ON_DATABASE),
    Check("work.unused_passwords", work.unused_passwords, ON_DATABASE),
)
