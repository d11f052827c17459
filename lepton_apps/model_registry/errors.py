"""What the registry refuses when a version is to take, lose or be kept from a role."""

from __future__ import annotations

from typing import ClassVar

from lepton_apps.common.errors import LeptonError


class PromotionConflictError(LeptonError):
    """The role is not held by the version that the asker thought."""

    code: ClassVar[str] = "role_already_changed"
    status: ClassVar[int] = 409


class BaselineNotBeatenError(LeptonError):
    """A simpler method did better on the same rows; the deep model is not worth its price."""

    code: ClassVar[str] = "baseline_not_beaten"
    status: ClassVar[int] = 409


class RoleRefusedError(LeptonError):
    """There is no such role, or nobody may be taken out of it."""

    code: ClassVar[str] = "role_refused"


class VersionRetiredError(LeptonError):
    """The version was retired: it takes no role again, and is retired once."""

    code: ClassVar[str] = "version_retired"
    status: ClassVar[int] = 409


class VersionInUseError(LeptonError):
    """The version has a role, so it cannot be retired."""

    code: ClassVar[str] = "version_in_use"
    status: ClassVar[int] = 409


class NoEarlierChampionError(LeptonError):
    """No version that could serve was champion before the present one."""

    code: ClassVar[str] = "no_earlier_champion"
    status: ClassVar[int] = 409
