"""The domain: matches, commentary and the feed of their events."""
