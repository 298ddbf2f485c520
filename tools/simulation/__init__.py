"""Simulated match days with up to a million clients: our scaling rule compared with the HPA's."""
