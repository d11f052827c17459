"""Which upstream change explains this one: a graph of entities and what they measured."""
