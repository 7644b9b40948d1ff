#!/usr/bin/env bash
# Installs the programs that the tests need and that PyPI can't give, where that is possible without asking.
set -euo pipefail

# need PROGRAM PACKAGE WHY
need() {
  if command -v "$1" >/dev/null; then return; fi
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "need: installing $2" >&2
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2"; } >/dev/null; then
      echo "need: apt-get could not install $2; $3" >&2
      echo "hint: install it by hand so that \`$1 --version\` works, then run this again" >&2
      exit 1
    fi
  else
    echo "need: $1 is missing; $3" >&2
    echo "hint: install it, then run this again: sudo apt-get install $2 (Fedora: dnf, Arch: pacman -S)" >&2
    exit 1
  fi
}

need bwrap bubblewrap "tests are never run without a sandbox"
need npm npm "it fetches the guests of the WebAssembly sandbox, once"
