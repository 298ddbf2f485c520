ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.lock requirements/app.lock requirements/
RUN pip install --quiet --require-hashes -r requirements/build.lock \
 && pip wheel --quiet --require-hashes --no-build-isolation --wheel-dir /wheels -r requirements/app.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
# The environment that is copied below holds neither pip nor the tools that build.
RUN pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m venv --without-pip /opt/livescore \
 && pip --python /opt/livescore/bin/python install --quiet --no-deps --no-index /wheels/*.whl

FROM ${PYTHON_IMAGE} AS app
ARG COMMIT=unknown
ENV PATH=/opt/livescore/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LIVESCORE_COMMIT=${COMMIT}
COPY --from=build /opt/livescore /opt/livescore
# By number, so that Kubernetes can tell it is not root (runAsNonRoot).
USER 10001:10001
EXPOSE 8000 9100
STOPSIGNAL SIGTERM
CMD ["livescore", "api"]
