"""The columns of a payment's feature vector, and what each one speaks for.

How time is counted: a window has a grain, 2 hours for one day and a day for 7 and 30 days. A
window of ``w`` at time ``t`` covers the buckets ``t // grain - w / grain`` .. ``t // grain``, so
it reaches back ``w`` and up to one grain more. Of these buckets every record counts that arrived
before; records of one bucket are ties, in order of arrival. Buckets after ``t``'s own are not
looked at, so a record that comes out of order does not see the future. An entity remembers 13
short and 31 day buckets up to its newest record; what is older is forgotten, and a record that
arrives later than that gets features but is not counted.

A payment is *unusual* when its customer has had 5 or more in 30 days and it is above 4 times
their (geometric) mean amount or 3 spreads above it. Amounts are compared as logarithms of
hundredths of the currency's unit, without conversion between currencies.

Known frauds count from the later of (payment time + label delay) and the arrival of the label;
their windows end a label delay ago. The share of a terminal divides by the payments of the same
window plus 4, so that one fraud among two payments does not read as one half.
"""

from __future__ import annotations

from typing import Final

# They move by themselves: a day is on a weekend or not, what is known of somebody gets older, and
# known frauds come in bursts.
MOVING: Final = frozenset(
    {"weekend", "customer_age_log_d", "device_age_log_h"}
    | {f"terminal_fraud_{window}" for window in ("1d", "7d", "30d")}
)
# (name, reason code) in the order in which ``kernel.py`` writes them.
FEATURES: Final[tuple[tuple[str, str], ...]] = (
    # The payment alone. Hours are UTC. Flags are 0 or 1.
    ("amount_log", "amount"),  # log1p of hundredths of the currency's unit
    ("hour_sin", "time_of_day"),
    ("hour_cos", "time_of_day"),
    ("weekend", "time_of_day"),
    ("night", "time_of_day"),  # before 6:00
    ("channel_online", "channel"),
    ("channel_contactless", "channel"),
    ("channel_atm", "channel"),
    ("channel_transfer", "channel"),
    ("device_given", "channel"),
    # The payment against the customer's habits.
    ("customer_known", "little_history"),
    ("currency_foreign", "new_country"),  # not the currency of the first payment
    ("country_given", "new_country"),
    ("country_changed", "new_country"),  # not the country of the last payment
    ("country_new", "new_country"),  # none of the last 4 countries
    ("device_new", "new_device"),  # none of the last 8
    ("terminal_new", "new_card_or_terminal"),  # none of the last 8
    ("card_new", "new_card_or_terminal"),  # none of the last 4
    # The customer's payments: log1p of counts, differences of log amounts.
    (
        "customer_count_2h",
        "velocity_of_customer",
    ),  # this 2-hour bucket and the one before
    ("customer_count_1d", "velocity_of_customer"),
    ("customer_count_7d", "velocity_of_customer"),
    ("customer_count_30d", "little_history"),
    ("customer_deviation_1d", "amount_unusual_for_customer"),
    ("customer_deviation_7d", "amount_unusual_for_customer"),
    ("customer_deviation_30d", "amount_unusual_for_customer"),
    ("customer_mean_30d", "amount"),  # mean log amount, 0 without history
    ("customer_z_30d", "amount_unusual_for_customer"),  # within -10 .. 10
    ("customer_unusual_7d", "amount_unusual_for_customer"),  # log1p of a count
    ("customer_unusual_30d", "amount_unusual_for_customer"),
    (
        "customer_last_log_s",
        "velocity_of_customer",
    ),  # log1p seconds since the newest, max. 90 days
    ("customer_age_log_d", "little_history"),  # log1p days since the oldest
    # The terminal's payments.
    ("terminal_count_2h", "velocity_of_terminal"),
    ("terminal_count_1d", "velocity_of_terminal"),
    ("terminal_count_7d", "velocity_of_terminal"),
    ("terminal_count_30d", "velocity_of_terminal"),
    ("terminal_deviation_30d", "amount_unusual_for_terminal"),
    ("terminal_unusual_1d", "terminal_unusual_amounts"),  # shares
    ("terminal_unusual_7d", "terminal_unusual_amounts"),
    ("terminal_unusual_30d", "terminal_unusual_amounts"),
    ("terminal_last_log_s", "velocity_of_terminal"),
    # Known frauds.
    ("terminal_fraud_1d", "terminal_fraud_history"),  # shares
    ("terminal_fraud_7d", "terminal_fraud_history"),
    ("terminal_fraud_30d", "terminal_fraud_history"),
    ("customer_fraud_1d", "customer_fraud_history"),  # log1p of counts
    ("customer_fraud_7d", "customer_fraud_history"),
    ("customer_fraud_30d", "customer_fraud_history"),
    # log1p hours since the customer first used this device, of the last 8; 0 for a new one.
    ("device_age_log_h", "new_device"),
)

NAMES: Final = tuple(name for name, _ in FEATURES)
REASONS: Final = tuple(reason for _, reason in FEATURES)

REASON_TEXTS: Final[dict[str, str]] = {
    "amount": "The amount is of a size seen more often in fraud.",
    "amount_unusual_for_customer": "The amount is far from what this customer usually pays.",
    "amount_unusual_for_terminal": "The amount is far from what is usually paid at this terminal.",
    "channel": "The way of paying is one seen more often in fraud.",
    "customer_fraud_history": "Earlier payments of this customer turned out to be fraud.",
    "little_history": "Little is known of this customer yet.",
    "new_card_or_terminal": "The customer has not used this card or terminal recently.",
    "new_country": "The country or currency is new for this customer.",
    "new_device": "The customer has not used this device before.",
    "terminal_fraud_history": "Earlier payments at this terminal turned out to be fraud.",
    "terminal_unusual_amounts": "Customers have recently paid unusually much at this terminal.",
    "time_of_day": "The payment was made at an hour seen more often in fraud.",
    "velocity_of_customer": "The pace of this customer's payments is unusual.",
    "velocity_of_terminal": "The pace of payments at this terminal is unusual.",
}
