# By digest, so that a build uses the base that was reviewed; Dependabot proposes newer ones. Any image with a glibc and
# Python 3.11 or newer works, e.g. a Debian with python3 and python3-venv: --build-arg PYTHON_IMAGE=NAME.
ARG PYTHON_IMAGE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

# One build for both images: each gets an environment of its own with the packages of its lock, every one checked by its
# hash. The environments hold neither pip nor the tools that build.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# `strip`: most of some wheels are symbols. Nothing is installed into the final images.
RUN command -v strip >/dev/null || { \
      apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*; }
# The build tools have an environment of their own: Debian's pip refuses to install into the system's.
RUN python3 -m venv /opt/build
ENV PATH=/opt/build/bin:$PATH
COPY requirements/build.lock requirements/app.lock requirements/operator.lock requirements/
# Wheels that are built hold its times.
ARG SOURCE_DATE_EPOCH=315532800
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}
RUN set -e; \
    pip install --quiet --require-hashes -r requirements/build.lock; \
    for image in app operator; do \
      pip wheel --quiet --require-hashes --no-build-isolation --wheel-dir /wheels/$image -r requirements/$image.lock; \
      python -m venv --without-pip /opt/$image; \
      pip --python /opt/$image/bin/python install --quiet --no-compile --no-deps --no-index /wheels/$image/*.whl; \
    done
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY operator operator
COPY images/slim.py images/
RUN set -e; \
    pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels .; \
    for image in app operator; do \
      pip --python /opt/$image/bin/python install --quiet --no-compile --no-deps --no-index /wheels/*.whl; \
    done; \
    export PYTHONHASHSEED=0; \
    /opt/app/bin/python images/slim.py livescore.__main__ livescore.cli livescore.server livescore.application livescore.jobs.processes \
      livescore.scores.store psycopg uvloop httptools; \
    /opt/operator/bin/python images/slim.py livescore_operator.__main__ livescore_operator.cli livescore_operator.process

FROM ${PYTHON_IMAGE} AS runtime
# What is not compiled is not worth a file, and the root is read-only.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# An intruder finds no shell, no package manager and no program that changes the user.
RUN find / -xdev -type f -perm /6000 -delete; \
    rm -rf /usr/bin/apt* /usr/bin/dpkg* /usr/bin/perl* /usr/bin/bash /usr/bin/dash /usr/bin/rbash /usr/bin/sh /bin/sh
# By number, so that Kubernetes can tell it is not root (runAsNonRoot).
USER 10001:10001
STOPSIGNAL SIGTERM
ARG VERSION=unknown
ARG COMMIT=unknown
ARG CREATED=1980-01-01T00:00:00Z
# What `--version` and `/health` tell.
ENV LIVESCORE_COMMIT=${COMMIT}
LABEL org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${COMMIT} \
      org.opencontainers.image.created=${CREATED} \
      org.opencontainers.image.licenses=Apache-2.0

FROM runtime AS operator
LABEL org.opencontainers.image.title=livescore-operator \
      org.opencontainers.image.description="Makes running services of LiveScore resources, and keeps them so."
# One arena, given back early: with fifty LiveScores a tenth less memory.
ENV PATH=/opt/operator/bin:$PATH MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072
COPY --from=build /opt/operator /opt/operator
EXPOSE 8080
CMD ["livescore-operator", "run"]

FROM runtime AS app
LABEL org.opencontainers.image.title=livescore \
      org.opencontainers.image.description="A live-score service that scales on its WebSocket connections and drops nothing."
ENV PATH=/opt/app/bin:$PATH
COPY --from=build /opt/app /opt/app
EXPOSE 8000 9100
CMD ["livescore", "api"]

# For `skaffold dev`: the same, but sources that are copied into a running pod count, and the process starts anew.
FROM operator AS operator-dev
ENV PATH=/opt/reload:$PATH
COPY operator /src
COPY --chmod=755 images/reload.py /opt/reload/livescore-operator

FROM app AS app-dev
ENV PATH=/opt/reload:$PATH
COPY app /src
COPY --chmod=755 images/reload.py /opt/reload/livescore
