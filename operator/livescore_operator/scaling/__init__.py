"""Scaling of the API pods by their open WebSockets. Pure: no clock, no API server, no network.

The vocabulary, in the terms of a HorizontalPodAutoscaler (HPA) wherever it has one. All but ``load`` are numbers of
pods:

================  ======================================================================================================
load              open connections of all pods together
current           ``spec.replicas`` of the API Deployment before this round
required          what the load needs at ``targetConnectionsPerPod``, regardless of bounds and pace
recommended       ``required`` within the bounds; remembered for the stabilization windows (HPA: recommendation)
desired           what a decision arrives at; ``status.scaling.replicas`` (HPA: ``desiredReplicas``)
replicas          what is written to the Deployment now; above ``desired`` while pods drain
floor             what the matches of a match day need
minimum, maximum  the bounds: ``minReplicas``, or the floor if that is higher, and ``maxReplicas``
================  ======================================================================================================

A pod is *serving* if it is ready and neither draining nor terminating. A serving pod without a reading is *unread*. A
drained pod is *released* when ``replicas`` has been lowered for it; if Kubernetes removes another pod instead, the
released one is a *survivor*.
"""
