"""What the host knows of the payments vertical."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

from fintech import fixtures
from fintech.currencies import SMALLEST_UNITS
from fintech.extractor import TransactionExtractor
from fintech.features import REASON_TEXTS
from fintech.policy import PaymentPolicy
from fintech.recipes import RECIPES
from fintech.records import Transaction, TransactionLabel
from fintech.simulator import simulate
from lepton_apps.verticals.contract import AlertText, LabelStream, Money, Stream, Vertical


def _amount(payment: Transaction) -> Money:
    return Money(payment.amount.quantize(SMALLEST_UNITS[payment.currency]), payment.currency)


TRANSACTIONS: Final = Stream(
    name="fintech.transactions",
    record_type=Transaction,
    extractor=TransactionExtractor(),
    policy=PaymentPolicy(),
    model_name="fintech.transactions",
    record_id=attrgetter("id"),
    occurred_at=attrgetter("occurred_at"),
    amount=_amount,
)


def _is_fraud(label: TransactionLabel) -> bool:
    return label.verdict == "fraud"


LABELS: Final = LabelStream(
    name="fintech.labels",
    labels=TRANSACTIONS.name,
    record_type=TransactionLabel,
    record_id=attrgetter("record_id"),
    is_positive=_is_fraud,
    kind=attrgetter("kind"),
    labelled_at=attrgetter("labelled_at"),
)


def render_alert(stream: str, record: Any, evidence: Mapping[str, Any]) -> AlertText:
    """One line and some facts about a payment. ``stream`` is the only one there is."""
    payment: Transaction = record
    title = (
        f"{payment.amount:,f} {payment.currency} by {payment.customer} at {payment.terminal}"
        f" ({payment.channel})"
    )
    facts = (
        ("Amount", f"{payment.amount:,f} {payment.currency}"),
        ("Customer", payment.customer),
        ("Card", payment.card),
        ("Terminal", payment.terminal),
        ("Merchant", payment.merchant),
        ("Channel", payment.channel),
        ("Device", payment.device),
        ("IP address", payment.ip),
        ("Country", payment.country),
        ("Payment", payment.id),
    )
    return AlertText(title, tuple((label, value) for label, value in facts if value))


VERTICAL: Final = Vertical(
    key="fintech",
    title="Payments",
    case_noun="case",
    streams=(TRANSACTIONS,),
    label_streams=(LABELS,),
    reason_texts=REASON_TEXTS,
    render_alert=render_alert,
    recipes=RECIPES,
    simulate=simulate,
    fixtures={TRANSACTIONS.name: fixtures.TRANSACTIONS, LABELS.name: fixtures.LABELS},
)
