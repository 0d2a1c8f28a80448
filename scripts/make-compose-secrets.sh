#!/bin/sh
# Random passwords, keys and tokens for deploy/compose.yaml: scripts/make-compose-secrets.sh FOLDER
#
# Writes FOLDER/.env (deploy/.env.example says what is in it), FOLDER/signing-keys, and FOLDER/backups for what is to
# come. What is there is left as it is: the database and the object store know those passwords. Needs openssl.
set -eu

[ $# -eq 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ ! -e "$folder/.env" ] || { echo "$folder/.env is there; it stays as it is" >&2; exit 1; }
umask 077
random() { head -c "$1" /dev/urandom | od -An -vtx1 | tr -d ' \n'; }

# Containers run as whoever may read the keys: you, or the images' own user where you are root.
user=$(id -u):$(id -g)
[ "$user" != 0:0 ] || user=10001:10001

mkdir -p "$folder/signing-keys" "$folder/backups"
openssl genpkey -quiet -algorithm ED25519 -out "$folder/signing-keys/$(date -u +%Y%m%dT%H%M%S).pem"
[ "$(id -u)" != 0 ] || chown -R "$user" "$folder/signing-keys" "$folder/backups"

cat >"$folder/.env.new" <<EOF
COMPOSE_PROJECT_NAME=onoma
ONOMA_USER=$user
ONOMA_SIGNING_KEYS=$folder/signing-keys
ONOMA_BACKUPS=$folder/backups
POSTGRES_PASSWORD=$(random 24)
MINIO_ROOT_USER=$(random 8)
MINIO_ROOT_PASSWORD=$(random 24)
ONOMA_ACCESS_TOKEN=$(random 32)
EOF
mv "$folder/.env.new" "$folder/.env"
echo "secrets are in $folder/.env and $folder/signing-keys, for you alone to read"
