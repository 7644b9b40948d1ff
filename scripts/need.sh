#!/usr/bin/env bash
# Installs the programs that the tests need and that PyPI can't give, where that is possible without asking.
set -euo pipefail

if ! command -v bwrap >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "need: installing bubblewrap" >&2
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends bubblewrap; } >/dev/null
  else
    echo "need: bubblewrap is missing; install it first, for example: sudo apt-get install bubblewrap" >&2
    exit 1
  fi
fi
