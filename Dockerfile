# syntax=docker/dockerfile:1
# The service of the linkage unit. Behind a mirror, hand pip its configuration as a build secret:
#   docker build --secret id=pip.conf,src=pip.conf -t linkage-service .
# Python 3.11 on x86-64, because anonlink ships no wheel for later ones and this build holds no compiler.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/linkage
WORKDIR /src
COPY requirements/service.txt requirements/build.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/linkage/bin/python install --require-hashes --only-binary :all: -r requirements/service.txt \
    && pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY . .
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheels ./services/ledger ./services/matching . \
    && pip --python /opt/linkage/bin/python install --no-deps --no-index /wheels/*.whl

FROM ${PYTHON_IMAGE}
RUN groupadd --system --gid 10001 linkage \
    && useradd --system --uid 10001 --gid linkage --no-create-home --shell /usr/sbin/nologin linkage \
    && install -d -o linkage -g linkage -m 0700 /var/lib/linkage /var/cache/linkage
COPY --from=build /opt/linkage /opt/linkage
# The matching kernel is compiled on first use and kept here.
ENV PATH=/opt/linkage/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/var/cache/linkage
USER 10001:10001
VOLUME /var/lib/linkage
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["linkage-service"]
CMD ["serve", "--data-dir", "/var/lib/linkage", "--host", "0.0.0.0", "--port", "8080"]
