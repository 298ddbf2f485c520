"""The metrics adapter: serves ``custom.metrics.k8s.io`` as an aggregated API server.

::

    server          wires the parts and serves them over HTTPS
    adapter         the HTTP API: discovery, one metric of pods, errors as Status objects
    provider        reads the metric from the pods
    tls             TLS context whose certificate and client CA are replaced while it serves
    authentication  the user of a request, as asserted by the API server
    authorization   the rights of a user, as reviewed by the API server
    certificates    the adapter's own CA and server certificate
    registration    keeps Secret and APIServices up to date
"""
