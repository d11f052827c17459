"""Metric samples, put together to one vector a minute for each entity, and what is unusual in it."""
