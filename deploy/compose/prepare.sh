#!/bin/sh
# Makes what compose.yaml expects beside it and what nobody should have to think up: passwords, the store's credentials,
# and certificates for inside the machine. Leaves alone what is there. Certificates for the outside are not made: put
# them into ./tls as server.pem and server-key.pem.
set -eu
umask 077
cd "${1:-$(dirname "$0")}"
# The folders keep other users of the machine out; the files in them are read by users of containers.
mkdir -p secrets keys cluster database-tls tls

secret() { [ -e "secrets/$1" ] || openssl rand -hex "$2" | tr -d '\n' >"secrets/$1"; }
secret superuser_password 24
secret owner_password 24
secret service_password 24
secret store_access_key 10
secret store_secret_key 24
[ -e secrets/store.json ] || cat >secrets/store.json <<JSON
{"identities": [{"name": "linkage", "actions": ["Admin", "Read", "Write", "List", "Tagging"], "credentials": [
    {"accessKey": "$(cat secrets/store_access_key)", "secretKey": "$(cat secrets/store_secret_key)"}]}]}
JSON

# An authority for one purpose, whose key is thrown away: to add a machine, make all of that folder again.
certificates() {
    folder=$1 file=$2 names=$3
    [ -e "$folder/$file.pem" ] && return
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj "/CN=linkage $folder" \
        -addext basicConstraints=critical,CA:TRUE -keyout "$folder/ca-key.pem" -out "$folder/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$file" -addext "subjectAltName=$names" \
        -keyout "$folder/$file-key.pem" -out "$folder/request.pem" 2>/dev/null
    openssl x509 -req -in "$folder/request.pem" -CA "$folder/ca.pem" -CAkey "$folder/ca-key.pem" -CAcreateserial -days 824 \
        -copy_extensions copy -out "$folder/$file.pem" 2>/dev/null
    rm -f "$folder/ca-key.pem" "$folder/request.pem" "$folder/ca.srl"
}
certificates cluster node DNS:scheduler,DNS:matcher,DNS:worker
certificates database-tls server DNS:db
chmod 0644 secrets/* cluster/* database-tls/ca.pem database-tls/server.pem

# The users that the containers run as: the service, the proxy, and the database server, which takes no key that others
# may read.
if [ "$(id -u)" = 0 ]; then
    chown -R 10001:10001 keys cluster
    chown 101:101 tls
    chown 999:999 database-tls/server-key.pem
fi
echo "Made in $(pwd): secrets, cluster, database-tls. Still to do: tls/server.pem and tls/server-key.pem, .env, init."
