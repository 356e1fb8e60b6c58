# rbd-mirror in a container: compiled in one stage; the other holds Node, librados2 and the compiled program, and runs as a user of its own.
#   docker build -t rbd-mirror .
#   docker run -v /etc/ceph:/etc/ceph:ro --network host rbd-mirror --cluster site-b --id rbd-mirror.b
FROM node:20-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc tsconfig.json ./
RUN npm ci --ignore-scripts
COPY config config
COPY src src
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:20-bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends librados2 \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o node -g node /run/ceph /var/log/ceph
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
USER node
ENV NODE_ENV=production
STOPSIGNAL SIGTERM
EXPOSE 9927
# Status page, metrics and health, on the container's loopback: with a network of its own set --rbd-mirror-metrics-address=0.0.0.0 to
# reach them from outside. Give the port in METRICS_PORT as well when --rbd-mirror-metrics-port is used.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.METRICS_PORT ?? 9927}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/cli/rbd-mirror.cjs", "-d"]
