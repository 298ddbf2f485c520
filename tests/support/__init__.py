"""Real servers, real processes and real clients for the tests."""
