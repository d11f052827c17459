"""Log lines: templates, windows of events, and what is unusual about them."""
