"""The metrics API: ``custom.metrics.k8s.io``, served by the operator as an aggregated API server."""
