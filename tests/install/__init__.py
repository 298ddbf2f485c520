"""The documented ways to install, upgrade and remove, on a real cluster: `make e2e-install`."""
