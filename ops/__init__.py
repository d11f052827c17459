"""The IT-operations vertical. It joins the server in its own release; the package holds its place."""
