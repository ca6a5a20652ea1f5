# The broker with everything that it ships. Tests run on this Python.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock .
RUN python -m venv /opt/broker && /opt/broker/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE THIRD_PARTY_NOTICES ./
COPY broker broker
COPY templates templates
COPY policies policies
RUN /opt/broker/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home broker
COPY --from=build /opt/broker /opt/broker
ENV PATH=/opt/broker/bin:$PATH PYTHONUNBUFFERED=1 BROKER_HOST=0.0.0.0 BROKER_DATA=/data
USER broker
WORKDIR /data
VOLUME /data
EXPOSE 8450
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8450/healthz', timeout=2)"]
ENTRYPOINT ["broker"]
CMD ["serve"]
