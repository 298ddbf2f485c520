#!/bin/sh
# Starts PostgreSQL on the data in PGDATA. Where there is none it makes some first: the superuser POSTGRES_USER with
# POSTGRES_PASSWORD, and the database POSTGRES_DB. PGDATA must be a folder of a volume, not the volume itself: data is
# made beside it and moved when it is whole, so that a pod killed half-way leaves nothing that looks like a database.
set -eu

create() {
  : "${POSTGRES_PASSWORD:?is required to make a new database}"
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  new=$PGDATA.new
  trap 'exit 1' INT TERM
  rm -rf "$new"
  (umask 077 && printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password)
  # shellcheck disable=SC2086 # several arguments are meant
  initdb --pgdata "$new" --username "$user" --pwfile /tmp/password --auth trust ${POSTGRES_INITDB_ARGS:-}
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
  if [ "$database" != postgres ]; then
    printf 'CREATE DATABASE "%s"\n' "$database" | postgres --single -D "$new" postgres
  fi
  mv --no-target-directory "$new" "$PGDATA"
  trap - INT TERM
}

case "${1:-}" in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then create; fi
exec "$@"
