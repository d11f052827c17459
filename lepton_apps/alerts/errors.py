"""What operators may be told when something cannot be done to an alert."""

from __future__ import annotations

from lepton_apps.common.errors import FilterRefusedError as FilterRefusedError
from lepton_apps.common.errors import LeptonError


class AlertAlreadyResolvedError(LeptonError):
    """Somebody else was faster. The data says who, when and how."""

    code = "alert_already_resolved"
    status = 409


class AlertAlreadyAcknowledgedError(LeptonError):
    """Another operator has it already."""

    code = "alert_already_acknowledged"
    status = 409


class AlertOfModelError(LeptonError):
    """An alert that is about no record, so there is nothing to label."""

    code = "alert_of_model"
    status = 409


class AssigneeRefusedError(LeptonError):
    """The person cannot work on alerts of that vertical."""

    code = "assignee_refused"
    status = 400


class CursorRefusedError(LeptonError):
    """A paging cursor that this server did not make."""

    code = "cursor_refused"
    status = 400
