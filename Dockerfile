# vestibule's image: one static binary, run by an unprivileged user.
#
# Both bases can be replaced, the second by scratch: nothing is needed there but
# what is copied. To build without a network, let BUILD_IMAGE hold a filled
# module cache (or run `go mod vendor` first) and give --build-arg GOPROXY=off.
ARG BUILD_IMAGE=golang:1.26-bookworm
ARG RUN_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
ARG GOPROXY=
ARG GOFLAGS=
ARG VERSION=
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath -pgo=cmd/vestibule/pgo/default.pgo -ldflags "-s -w -X main.release=${VERSION}" \
        -o /out/vestibule ./cmd/vestibule
# The public roots verify https upstreams; scratch has none. The empty directory
# becomes those the user may write to.
RUN mkdir -p /out/certs /out/empty && \
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then cp -L /etc/ssl/certs/ca-certificates.crt /out/certs/; fi

FROM ${RUN_IMAGE}
COPY --from=build /out/vestibule /vestibule
COPY --from=build /out/certs/ /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/empty/ /var/lib/vestibule/
COPY --from=build --chown=65532:65532 /out/empty/ /run/vestibule/

# A number, so that Kubernetes and --user can tell that it is not root.
USER 65532:65532

# http, https, federation. Docker lets any user of a container listen below
# 1024; where that is not so (Podman, --network host), see docs/operating.md,
# "Ports below 1024". The binary carries no file capability on purpose: with
# --cap-drop=ALL the kernel would refuse to run it at all.
EXPOSE 80 443 8448

HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/vestibule", "healthcheck"]
ENTRYPOINT ["/vestibule"]
CMD ["serve"]
