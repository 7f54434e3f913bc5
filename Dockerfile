# The bridge as a container: docker build -t mosaico-bridge .
#
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -v /data/recordings:/recordings:ro -v mosaico-state:/state -p 127.0.0.1:9477:9477 \
#     -e MOSAICO_BRIDGE_SERVER__HOST=platform.example mosaico-bridge
#
# Everything of ours is pure Python and everything else comes as wheels, so the same file builds
# for amd64 and arm64; the digest is that of the index over both.
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS build
WORKDIR /source
# Where the project is to be found, for what the package says of itself; nothing for nowhere.
ARG PROJECT_URL
COPY .ci .ci
COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
# Travel in the wheel as data, for install-files.
COPY config config
COPY docs docs
COPY systemd systemd
# The dependencies are exactly those of the lock file, by their hashes. A sixth of what they bring is
# their own tests, and headers for compilers.
RUN python -m venv /opt/mosaico-bridge \
 && /opt/mosaico-bridge/bin/pip install --no-cache-dir --only-binary=:all: --require-hashes --no-deps \
    --requirement .ci/constraints.txt \
 && /opt/mosaico-bridge/bin/pip install --no-cache-dir --no-deps . \
 && /opt/mosaico-bridge/bin/pip check \
 && /opt/mosaico-bridge/bin/pip uninstall --yes --quiet pip setuptools \
 && find /opt/mosaico-bridge/lib -depth -type d \( -name tests -o -path '*/pyarrow/include' \) -exec rm -r {} + \
 && /opt/mosaico-bridge/bin/python -m compileall -q /opt/mosaico-bridge/lib

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
RUN useradd --uid 6726 --user-group --no-create-home --shell /usr/sbin/nologin mosaico-bridge \
 && install -d -o mosaico-bridge -g mosaico-bridge -m 0700 /state \
 && install -d /recordings
COPY --from=build /opt/mosaico-bridge /opt/mosaico-bridge
ENV PATH=/opt/mosaico-bridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MOSAICO_BRIDGE_WATCH__FOLDER=/recordings \
    MOSAICO_BRIDGE_STATE__FOLDER=/state \
    MOSAICO_BRIDGE_HTTP__HOST=0.0.0.0 \
    MOSAICO_BRIDGE_LOG__FORMAT=json
USER mosaico-bridge
WORKDIR /state
VOLUME /state
EXPOSE 9477
STOPSIGNAL SIGTERM
# Alive, not ready: an outage of the platform is no reason to restart the bridge.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9477/healthz', timeout=4)"]
ENTRYPOINT ["mosaico-bridge"]
CMD ["run"]
