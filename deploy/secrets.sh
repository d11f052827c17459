#!/bin/sh
# Make the secrets of compose.yaml, once: random, readable by the containers' user, kept by git's ignore list
# out of every commit. What is there already is left alone.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
[ -s secrets/database_password ] || random > secrets/database_password
[ -s secrets/secret_key ] || random > secrets/secret_key
[ -s secrets/database_url ] ||
    printf 'postgresql://lepton:%s@postgres:5432/lepton' "$(cat secrets/database_password)" > secrets/database_url
# Compose mounts these files as they are: the image's user, 10001, has to be able to read them. The
# folder is closed: the daemon mounts what is in it, and nobody else on this machine gets in.
chmod 700 secrets
chmod 644 secrets/database_password secrets/secret_key secrets/database_url
echo "The secrets are in $(pwd)/secrets. Nobody but you can enter that folder."
