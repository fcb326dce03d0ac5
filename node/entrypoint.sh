#!/bin/sh
# `server /data` and `minio server /data` both start MinIO, as in upstream's images.
[ "$1" = minio ] || set -- minio "$@"
exec "$@"
