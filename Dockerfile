# syntax=docker/dockerfile:1
# Two images: the service of the linkage unit (the last stage, so the default), and a worker for a Dask cluster, which
# holds the matching engine and nothing of the service. Behind a mirror, hand pip its configuration as a build secret:
#   docker build --secret id=pip.conf,src=pip.conf -t linkage-service .
#   docker build --secret id=pip.conf,src=pip.conf --target matcher -t linkage-matcher .
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY . .
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheels ./services/ledger ./services/matching ./services/console \
    ./client_sdk .

FROM build AS build-matcher
RUN python -m venv --without-pip /opt/linkage
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/linkage/bin/python install --require-hashes --only-binary :all: -r requirements/matcher.txt \
    && pip --python /opt/linkage/bin/python install --no-deps --no-index /wheels/linkage_matching-*.whl

FROM build AS build-service
RUN python -m venv --without-pip /opt/linkage
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/linkage/bin/python install --require-hashes --only-binary :all: -r requirements/service.txt \
    && pip --python /opt/linkage/bin/python install --no-deps --no-index /wheels/*.whl

FROM ${PYTHON_IMAGE} AS base
RUN groupadd --system --gid 10001 linkage \
    && useradd --system --uid 10001 --gid linkage --no-create-home --shell /usr/sbin/nologin linkage \
    && install -d -o linkage -g linkage -m 0700 /var/lib/linkage /var/lib/linkage-keys /var/cache/linkage
# The matching kernel is compiled on first use and kept in the cache.
ENV PATH=/opt/linkage/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/var/cache/linkage

FROM base AS matcher
COPY --from=build-matcher /opt/linkage /opt/linkage
USER 10001:10001
ENTRYPOINT ["dask"]
CMD ["worker", "--help"]

FROM base AS service
COPY --from=build-service /opt/linkage /opt/linkage
USER 10001:10001
# Apart from the blobs, so that one volume alone gives nothing away.
ENV LINKAGE_KEYS_DIR=/var/lib/linkage-keys
VOLUME /var/lib/linkage /var/lib/linkage-keys
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["linkage-service"]
CMD ["serve", "--data-dir", "/var/lib/linkage", "--host", "0.0.0.0", "--port", "8080"]
