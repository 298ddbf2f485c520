# Pinned by digest; Dependabot proposes updates. Any image with glibc and Python 3.11 or newer works, such as a Debian
# with python3 and python3-venv: --build-arg PYTHON_IMAGE=NAME.
ARG PYTHON_IMAGE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

# One stage builds the environments of both images, each with the hash-checked packages of its lock and without pip and
# build tools.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# images/slim.py needs `strip`. The final images do not contain it.
RUN command -v strip >/dev/null || { \
      apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*; }
# Build tools get their own environment, because Debian's pip does not install into the system's.
RUN python3 -m venv /opt/build
ENV PATH=/opt/build/bin:$PATH
COPY requirements/build.lock requirements/app.lock requirements/operator.lock requirements/
# Timestamps in wheels built here.
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
# images/slim.py compiled all modules worth compiling, and the root file system is read-only.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# No shell, no package manager and no setuid program.
RUN find / -xdev -type f -perm /6000 -delete; \
    rm -rf /usr/bin/apt* /usr/bin/dpkg* /usr/bin/perl* /usr/bin/bash /usr/bin/dash /usr/bin/rbash /usr/bin/sh /bin/sh
# Numeric, so that Kubernetes can check runAsNonRoot.
USER 10001:10001
STOPSIGNAL SIGTERM
ARG VERSION=unknown
ARG COMMIT=unknown
ARG CREATED=1980-01-01T00:00:00Z
# Shown by `--version` and `/health`.
ENV LIVESCORE_COMMIT=${COMMIT}
LABEL org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${COMMIT} \
      org.opencontainers.image.created=${CREATED} \
      org.opencontainers.image.licenses=Apache-2.0

FROM runtime AS operator
LABEL org.opencontainers.image.title=livescore-operator \
      org.opencontainers.image.description="Kubernetes operator that runs LiveScore resources."
# One malloc arena, trimmed early, saves 10 % of memory with fifty LiveScores.
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

# For `skaffold dev`: run the sources that skaffold copies into a running pod, and restart the process on changes.
FROM operator AS operator-dev
ENV PATH=/opt/reload:$PATH
COPY operator /src
COPY --chmod=755 images/reload.py /opt/reload/livescore-operator

FROM app AS app-dev
ENV PATH=/opt/reload:$PATH
COPY app /src
COPY --chmod=755 images/reload.py /opt/reload/livescore
