"""Real time: from a committed event to the bytes on every socket."""
