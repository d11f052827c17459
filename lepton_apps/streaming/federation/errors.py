"""What a site refuses a coordinator, and a coordinator its command."""

from __future__ import annotations

from typing import ClassVar

from lepton_apps.common.errors import LeptonError


class FederationRefusedError(LeptonError):
    """A round that cannot be, or goes beyond what the site's admin allows."""

    code: ClassVar[str] = "federation_refused"


class FederationNotAllowedError(LeptonError):
    """The site takes part in no federation of this stream now."""

    code: ClassVar[str] = "federation_not_allowed"
    status: ClassVar[int] = 403


class FederationSchemaError(LeptonError):
    """The round is of other features than the site's stream extracts."""

    code: ClassVar[str] = "federation_schema_differs"
    status: ClassVar[int] = 409


class FederationRowsError(LeptonError):
    """The site has too few labelled rows."""

    code: ClassVar[str] = "federation_rows_few"
    status: ClassVar[int] = 409


class FederationBudgetError(LeptonError):
    """The round would spend more of the rows' privacy than the site's admin allows."""

    code: ClassVar[str] = "federation_budget_spent"
    status: ClassVar[int] = 409


class FederationTryError(LeptonError):
    """The try was joined before, or was not, or was answered."""

    code: ClassVar[str] = "federation_try_over"
    status: ClassVar[int] = 409


class FederationBusyError(LeptonError):
    """Another round is trained here now."""

    code: ClassVar[str] = "federation_busy"
    status: ClassVar[int] = 409


class FederationFailedError(LeptonError):
    """A federation that this server coordinates came to nothing."""

    code: ClassVar[str] = "federation_failed"
    status: ClassVar[int] = 409


OF_A_SITE: tuple[type[LeptonError], ...] = (
    FederationRefusedError,
    FederationNotAllowedError,
    FederationSchemaError,
    FederationRowsError,
    FederationBudgetError,
    FederationTryError,
    FederationBusyError,
)
