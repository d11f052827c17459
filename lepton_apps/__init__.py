"""The host: knows that verticals exist, never which."""
