#!/bin/sh
# Starts Valkey with the flags given; other commands run as they are.
set -eu

case "${1:-}" in
  # A container's network is its own: it answers there without a password too, as the official image does.
  -*) set -- valkey-server --protected-mode no "$@" ;;
  valkey-server) shift && set -- valkey-server --protected-mode no "$@" ;;
esac
umask 0077
exec "$@"
