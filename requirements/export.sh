#!/usr/bin/env bash
# Writes the hashed pins of the service, the matching engine on a cluster, the client, development and the build,
# without hosts, into this folder or the one named.
# Always resolves afresh in a copy, so that neither a lock file from yesterday nor the environment in use takes part.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=$(mkdir -p "${1:-$root/requirements}" && cd "${1:-$root/requirements}" && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

cd "$root"
for project in . services/matching services/ledger services/console client_sdk; do
    mkdir -p "$copy/$project"
    cp "$project/pyproject.toml" "$copy/$project/"
done

cd "$copy"
uv lock --quiet
export_pins() {
    local name=$1
    shift
    uv export --quiet --locked --no-header --no-emit-workspace "$@" >"$copy/$name.txt"
}
export_pins service --package linkage-service --extra console --extra dask --extra postgresql --extra telemetry --no-default-groups
export_pins matcher --package linkage-matching --extra cluster --no-default-groups
export_pins client --package linkage-client --no-default-groups
export_pins dev --all-packages --all-extras --all-groups
# Every member asks for the same build back end.
sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml |
    uv pip compile --quiet --no-header --universal --generate-hashes --output-file build.txt - >/dev/null
mv service.txt matcher.txt client.txt dev.txt build.txt "$target/"
