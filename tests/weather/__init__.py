"""A small second vertical: weather stations that jump, disagree with their region, or fall silent."""
