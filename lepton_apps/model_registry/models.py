"""Model versions, their files, and who had which role when.

Rows are added and never change: the database refuses the rest. So the accounts that acted are
named beside their keys, and an account that goes leaves its name.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class ModelVersion(models.Model):
    """An immutable, numbered result of training."""

    model_name = models.CharField(max_length=64)
    number = models.PositiveIntegerField()
    stream = models.CharField(max_length=64)
    schema_hash = models.CharField(max_length=16)  # of the features it was trained on
    manifest = models.JSONField()
    metrics = models.JSONField(default=dict)
    baseline = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    created_by_name = models.CharField(max_length=150)  # kept when the account goes

    class Meta:
        db_table = "model_version"
        constraints = [
            models.UniqueConstraint(fields=["model_name", "number"], name="model_number_once")
        ]

    def __str__(self) -> str:
        return f"{self.model_name} v{self.number}"

    @property
    def recipe_name(self) -> str:
        """Of the declared recipe; empty where the artifact does not say."""
        return str(self.manifest.get("recipe_name", ""))

    @property
    def code_version(self) -> str:
        """Of the code that trained it; empty where the artifact does not say."""
        return str(self.manifest.get("code_version", ""))

    @property
    def data_hash(self) -> str:
        """Of the rows that it was trained on."""
        return str(self.manifest.get("data_hash", ""))


class ModelFile(models.Model):
    """One file of a version's artifact. The bytes live here so that any machine can serve."""

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="files")
    name = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        db_table = "model_file"
        constraints = [models.UniqueConstraint(fields=["version", "name"], name="model_file_once")]


class Role(models.TextChoices):
    CHAMPION = "champion"  # decides
    CHALLENGER = "challenger"  # is compared


class RoleChange(models.Model):
    """One line of the ledger: from ``at`` on, ``version`` had ``role``. The last one holds."""

    class Act(models.TextChoices):
        PROMOTED = "promoted"
        ROLLED_BACK = "rolled_back"  # to the champion before; see selectors.reigns
        WITHDRAWN = "withdrawn"  # from then on nobody has the role

    model_name = models.CharField(max_length=64)
    role = models.CharField(max_length=16, choices=Role)
    act = models.CharField(max_length=16, choices=Act, default=Act.PROMOTED)
    version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT)
    sequence = models.PositiveIntegerField()
    at = models.DateTimeField()  # grows with the sequence
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    by_name = models.CharField(max_length=150)  # kept when the account goes
    why = models.TextField(blank=True)

    class Meta:
        db_table = "model_role_change"
        constraints = [
            # Two promotions at once: the second one finds its number taken.
            models.UniqueConstraint(
                fields=["model_name", "role", "sequence"], name="role_change_in_turn"
            ),
            # A stream without a champion decides nothing, so only a challenger is withdrawn.
            models.CheckConstraint(
                condition=Q(act="withdrawn", role="challenger", version=None)
                | (~Q(act="withdrawn") & Q(version__isnull=False)),
                name="role_change_names_whom",
            ),
        ]


class Retirement(models.Model):
    """The end of a version: it takes no role again. Its row and files stay."""

    version = models.OneToOneField(
        ModelVersion, on_delete=models.PROTECT, related_name="retirement"
    )
    at = models.DateTimeField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    by_name = models.CharField(max_length=150)  # kept when the account goes
    why = models.TextField(blank=True)

    class Meta:
        db_table = "model_retirement"


class ThresholdChange(models.Model):
    """One line of a version's ledger: from ``at`` on, these thresholds. The last one holds.

    A version without a line decides by the thresholds of its artifact.
    """

    class Because(models.TextChoices):
        BUDGET = "budget"  # they follow from the stream's alert budget
        VERSION = "version"  # the budget went: those of the artifact again

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="thresholds")
    sequence = models.PositiveIntegerField()
    thresholds = models.JSONField()  # by the policy's names, each above 0 and at most 1
    because = models.CharField(max_length=16, choices=Because)
    scores = models.BigIntegerField()  # of how many recent rows they followed
    expected_per_day = models.FloatField(null=True)  # in the unit of the budget
    at = models.DateTimeField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    why = models.TextField(blank=True)

    class Meta:
        db_table = "threshold_change"
        constraints = [
            models.UniqueConstraint(fields=["version", "sequence"], name="threshold_change_in_turn")
        ]
