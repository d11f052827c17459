"""The payments vertical: scores transactions for fraud."""
