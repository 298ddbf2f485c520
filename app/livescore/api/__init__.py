"""HTTP: REST, long poll, server-sent events, health."""
