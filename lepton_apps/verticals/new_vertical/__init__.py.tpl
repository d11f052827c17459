"""$title: measurements of devices, and those that somebody should look at."""
