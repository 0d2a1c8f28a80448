#!/bin/sh
# Secrets of an installation on Kubernetes, made at random, to be created once:
#   scripts/make-secrets.sh | kubectl create --namespace onoma -f -
#
# Where database and object store are others' than the small ones of overlays/dev, say how they are reached:
#   DATABASE_URL=postgresql+psycopg://USER:PASSWORD@HOST/NAME S3_ACCESS_KEY=... S3_SECRET_KEY=... scripts/make-secrets.sh
# The certificates are of a development authority made for the occasion and last DAYS (365); docs/deploy.md says how an
# issuer of your own makes them instead. WITHOUT_TLS=1 leaves them out.
set -eu

days=${DAYS:-365}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 077

random() { openssl rand -hex "$1"; }

secret() { # NAME KEY FILE [KEY FILE ...]
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\ntype: Opaque\ndata:\n' "$1"
    shift
    while [ $# -gt 0 ]; do
        printf '  %s: %s\n' "$1" "$(base64 <"$2" | tr -d '\n')"
        shift 2
    done
}

keep() { printf %s "$2" >"$folder/$1"; } # without the line's end, which would be part of a password

password=$(random 24)
keep token "$(random 32)"
keep ray "$(random 32)"
keep password "$password"
keep url "${DATABASE_URL:-postgresql+psycopg://onoma:$password@database:5432/onoma}"
keep access-key "${S3_ACCESS_KEY:-$(random 10)}"
keep secret-key "${S3_SECRET_KEY:-$(random 24)}"
openssl genpkey -quiet -algorithm ed25519 -out "$folder/signing.pem"

secret access-token token "$folder/token"
secret database url "$folder/url" password "$folder/password"
secret object-store access-key "$folder/access-key" secret-key "$folder/secret-key"
secret signing-keys "$(date -u +%Y%m%d).pem" "$folder/signing.pem"
secret ray token "$folder/ray"

[ -z "${WITHOUT_TLS:-}" ] || exit 0
DAYS=$days sh "$(dirname "$0")/make-dev-ca.sh" "$folder/tls" >/dev/null
for name in inference attribution naming analytics gateway owner; do
    of=$folder/tls/$name
    secret "tls-$name" ca.crt "$of/ca.crt" tls.crt "$of/tls.crt" tls.key "$of/tls.key"
done
