"""ISO 4217: the currencies that a record may name, and how many decimals each one has."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

_CODES_BY_EXPONENT: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP
          BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR
          FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR
          KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR
          MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK
          SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN
          UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG ZWL""",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

# Currency code -> decimals of its smallest unit. A few withdrawn codes stay, for old records.
EXPONENTS: Final[dict[str, int]] = {
    code: exponent for exponent, codes in _CODES_BY_EXPONENT.items() for code in codes.split()
}

# Currency code -> its smallest unit, for the check that an amount is a whole number of them.
SMALLEST_UNITS: Final[dict[str, Decimal]] = {
    code: Decimal(1).scaleb(-exponent) for code, exponent in EXPONENTS.items()
}
