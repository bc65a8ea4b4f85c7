# Carries the plugin to nodes: run as a DaemonSet with the host's /opt/cni/bin and /etc/cni/net.d mounted, it copies
# the binary (to a temporary name, then a rename: a runtime may be executing the old one) and the configuration, unless the
# node has one.
ARG NODE_IMAGE=node:20-bookworm-slim
FROM ${NODE_IMAGE} AS build
WORKDIR /src
COPY . .
RUN scripts/setup build

FROM ${NODE_IMAGE}
COPY --from=build /src/dist/bowline /usr/local/bin/bowline
COPY --from=build /src/conf /usr/local/share/bowline
CMD ["sh", "-ec", "cp /usr/local/bin/bowline /opt/cni/bin/.bowline.new && mv /opt/cni/bin/.bowline.new /opt/cni/bin/bowline && ln -sfn bowline /opt/cni/bin/bowline-ipam && if [ ! -e /etc/cni/net.d/10-bowline.conflist ]; then cp /usr/local/share/bowline/10-bowline.conflist /etc/cni/net.d/.bowline.new && mv /etc/cni/net.d/.bowline.new /etc/cni/net.d/10-bowline.conflist; fi && exec sleep infinity"]
