"""API servers for the operator's tests.

A real API server (``apiserver``) or, if its binaries are missing, one emulated in memory (``emulator``). Tests cannot
distinguish them except through :class:`~tests.support.kubernetes.server.Server`. ``faults`` puts a faulty network in
front of either, ``kube`` is the tests' client, and ``kubelet`` stands in for the controllers that neither has.
"""
