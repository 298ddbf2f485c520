"""Development tools: the whole service on one machine with embedded servers, and the replay of real matches."""
