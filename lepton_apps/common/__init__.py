"""Six things everything may use: env, errors, clock, metrics, logging and db."""
