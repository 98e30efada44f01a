# docker build -t value-model .                            the service, without TensorFlow
# docker build -t value-model-whole --target whole .       everything: what trains, tunes and watches
#
# Both run as user 10001 on a read-only root: they write to the volumes that a command names, and to /tmp.
# docs/deploy.md says how they are run.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /source
COPY deploy/build.lock deploy/
RUN python -m pip install --no-cache-dir --require-hashes --only-binary :all: --requirement deploy/build.lock
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:${PYTHON}-slim-bookworm AS serving-packages
COPY deploy/serving.lock /locks/
RUN python -m venv --without-pip /opt/value-model \
    && python -m pip --python /opt/value-model install --no-cache-dir --require-hashes --only-binary :all: \
        --requirement /locks/serving.lock
COPY --from=wheel /wheels /wheels
RUN python -m pip --python /opt/value-model install --no-cache-dir --no-deps /wheels/*.whl

FROM python:${PYTHON}-slim-bookworm AS whole-packages
COPY deploy/whole.lock /locks/
RUN python -m venv --without-pip /opt/value-model \
    && python -m pip --python /opt/value-model install --no-cache-dir --require-hashes --only-binary :all: \
        --requirement /locks/whole.lock
COPY --from=wheel /wheels /wheels
RUN python -m pip --python /opt/value-model install --no-cache-dir --no-deps /wheels/*.whl

FROM python:${PYTHON}-slim-bookworm AS runtime
ENV HOME=/tmp \
    PATH=/opt/value-model/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN install --directory --owner 10001 --group 10001 /srv/market /srv/models /srv/log
ENTRYPOINT ["value-model"]
STOPSIGNAL SIGTERM

FROM runtime AS whole
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=whole-packages /opt/value-model /opt/value-model
USER 10001:10001
CMD ["--help"]

FROM runtime AS serving
COPY --from=serving-packages /opt/value-model /opt/value-model
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["serve", "/srv/market", "--host", "0.0.0.0", "--port", "8080", "--workers", "1", "--log", "/srv/log/log.sqlite"]
