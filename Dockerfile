# Two targets: `web` has no torch; `worker` (and inference) has it.

FROM node:24-slim AS assets
WORKDIR /srv/podium
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PODIUM_DATA_DIR=/data PODIUM_HOST=0.0.0.0 PODIUM_INFERENCE_HOST=0.0.0.0
WORKDIR /srv/podium
RUN useradd --system --uid 10001 --home /data podium && mkdir /data && chown podium /data
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app ./app
COPY templates ./templates
COPY static ./static
COPY migrations ./migrations

FROM base AS web
RUN pip install -c constraints.txt -e .
COPY --from=assets /srv/podium/node_modules ./node_modules
COPY package.json package-lock.json ./
RUN podium assets && rm -rf node_modules
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz')"]
CMD ["podium", "serve"]

FROM base AS worker
COPY starters.txt ./
RUN pip install torch==2.13.0 -c constraints.txt \
 && pip install -c constraints.txt -e '.[worker,train]' \
 && pip install --no-deps --require-hashes -r starters.txt
USER 10001
VOLUME /data
CMD ["podium", "worker"]
