"""The service on one laptop: embedded servers, all processes, replayed matches."""
