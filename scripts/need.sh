#!/usr/bin/env bash
# Installs the programs that the tests need and that PyPI can't give, where that is possible without asking.
set -euo pipefail

if ! command -v bwrap >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "need: installing bubblewrap" >&2
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends bubblewrap; } >/dev/null; then
      echo "need: apt-get could not install bubblewrap; tests are never run without a sandbox" >&2
      echo "hint: install it by hand so that \`bwrap --version\` works, then run this again" >&2
      exit 1
    fi
  else
    echo "need: bubblewrap is missing; tests are never run without a sandbox" >&2
    echo "hint: install it, then run this again: sudo apt-get install bubblewrap (Fedora: dnf, Arch: pacman -S)" >&2
    exit 1
  fi
fi
