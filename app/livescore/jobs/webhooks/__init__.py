"""Webhooks: every event of the feed to the endpoints that want it, at least once and in order per match."""
