# One image for every process; docker-compose.yml says which one a container runs.
FROM node:22-bookworm-slim AS front-end
WORKDIR /gatehouse
COPY package.json package-lock.json .npmrc ./
RUN npm ci

FROM python:3.11-slim-bookworm
# Own users: the sealer's signing key must be out of everybody else's reach.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin gatehouse \
 && useradd --uid 10002 --no-create-home --shell /usr/sbin/nologin sealer \
 && install -d -o gatehouse -g gatehouse -m 0755 /data /node \
 && install -d -o sealer -g sealer -m 0700 /ledger
ENV PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MALLOC_ARENA_MAX=2 \
    OPENBLAS_NUM_THREADS=1 \
    DJANGO_SETTINGS_MODULE=controlplane.settings.base \
    GATEHOUSE_DATA_DIR=/data \
    GATEHOUSE_LEDGER_STATE_DIR=/ledger
WORKDIR /gatehouse
COPY requirements/base.txt requirements/base.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/base.txt
COPY . .
COPY --from=front-end /gatehouse/node_modules node_modules
RUN python -m controlplane.local.front_end && rm -r node_modules && python -m compileall -q .
USER gatehouse
