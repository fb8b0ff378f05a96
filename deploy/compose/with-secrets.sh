#!/bin/sh
# Hands each file in /run/secrets to a program as the variable of the file's name, so that no secret stands in the
# compose file, in an environment file, or in what `docker inspect` shows.
set -eu
for file in "${SECRETS_FOLDER:-/run/secrets}"/*; do
    [ -f "$file" ] || continue
    value=$(cat "$file")
    export "$(basename "$file")=$value"
done
exec "$@"
