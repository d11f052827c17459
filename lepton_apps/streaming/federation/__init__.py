"""This server as a site, and as the coordinator, of federated training."""
