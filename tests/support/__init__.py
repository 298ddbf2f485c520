"""Real servers, processes and clients for the tests."""
