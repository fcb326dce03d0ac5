#!/bin/sh
# Run the command without root. Started as root, as by compose files without `user:`,
# become the user `gateway`, in the group that the Docker socket has (or DOCKER_GID).
set -eu
if [ "$(id -u)" = 0 ]; then
    socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
    group=${DOCKER_GID:-$(stat -c %g "${socket#unix://}" 2>/dev/null || id -g gateway)}
    set -- setpriv --reuid gateway --regid gateway --groups "$group" --no-new-privs "$@"
fi
exec "$@"
