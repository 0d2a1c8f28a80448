#!/bin/sh
# A development authority and a certificate of it for each service, the gateway and the owner's client, for
# ONOMA_TLS_DIR: scripts/make-dev-ca.sh FOLDER [HOST ...]
#
# A HOST is added to every certificate; {} in it stands for the service: '{}.onoma.svc'. An authority that is there is
# kept and its certificates are made anew, which running services pick up. Not for production: the authority's key
# lies in FOLDER beside what it signed.
set -eu

[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$1
shift
days=${DAYS:-30}
umask 077
mkdir -p "$folder"

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

if [ ! -f "$folder/ca.key" ]; then
    new_key "$folder/ca.key.new" # under its name last: one that is there has its certificate
    openssl req -x509 -new -key "$folder/ca.key.new" -days 3650 -subj '/CN=Onoma development authority' \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
        -out "$folder/ca.crt"
    mv "$folder/ca.key.new" "$folder/ca.key"
fi

for name in inference attribution naming analytics gateway owner; do
    own=$folder/$name
    mkdir -p "$own"
    usage=serverAuth,clientAuth
    [ "$name" = owner ] && usage=clientAuth
    names="DNS:$name,DNS:onoma-$name,DNS:localhost,IP:127.0.0.1,IP:::1"
    for host in "$@"; do
        host=$(printf %s "$host" | sed "s/{}/$name/g")
        case $host in
            *:* | [0-9]*.[0-9]*.[0-9]*.[0-9]*) names="$names,IP:$host" ;;
            *) names="$names,DNS:$host" ;;
        esac
    done
    printf 'subjectAltName=%s\nextendedKeyUsage=%s\nbasicConstraints=critical,CA:FALSE\n' "$names" "$usage" \
        >"$own/extensions"
    new_key "$own/tls.key.new"
    openssl req -new -key "$own/tls.key.new" -subj "/CN=$name" |
        openssl x509 -req -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -days "$days" \
            -extfile "$own/extensions" -out "$own/tls.crt.new" 2>"$own/said" || { cat "$own/said" >&2; exit 1; }
    cp "$folder/ca.crt" "$own/ca.crt"
    mv "$own/tls.key.new" "$own/tls.key"
    mv "$own/tls.crt.new" "$own/tls.crt"
    rm "$own/extensions" "$own/said"
done
echo "certificates for $days days are in $folder: ONOMA_TLS_DIR=$folder/naming for naming, and so on"
