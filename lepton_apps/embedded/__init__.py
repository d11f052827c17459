"""The wheel-borne PostgreSQL and broker, and the supervisor behind `make run`.

Nothing here needs Django's settings: the servers start before settings can be read.
"""
