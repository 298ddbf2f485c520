"""Tests of every documented way to install, upgrade and remove, on a real cluster: `make e2e-install`."""
