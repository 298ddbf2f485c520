"""What the operator's tests run against.

A real API server (``apiserver``) or, where its binaries are not there, one that is emulated in memory (``emulator``):
tests cannot tell them apart, but for what :class:`~tests.support.kubernetes.server.Server` says. ``faults`` puts a bad
network in front of either, ``kube`` is the client of the tests, ``kubelet`` plays the controllers that neither has.
"""
