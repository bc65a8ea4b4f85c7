# The image of bowline-agent, which the DaemonSet in conf/bowline.yaml runs on each node: two programs, the C library of one of them, and
# nothing else. npm run image makes an image of the same files without a container engine.
ARG BUILD_IMAGE=node:20-bookworm-slim
FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN scripts/setup build && npm run image -- --directory /image

FROM scratch
COPY --from=build /image /
USER 0:0
ENTRYPOINT ["/bowline-agent"]
