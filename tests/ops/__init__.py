"""The IT-operations vertical."""
