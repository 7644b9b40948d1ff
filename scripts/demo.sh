#!/usr/bin/env bash
# The main job on real code: one rename across a scratch copy of this repository, then back to the middle of the run.
set -euo pipefail
bash scripts/need.sh

root=$PWD
scratch=$root/.cache/demo
rm -rf "$scratch"
mkdir -p "$scratch"
git clone --quiet --no-hardlinks "$root" "$scratch/project"
export CAVALCADE_HOME=$scratch/data PATH="$root/.venv/bin:$PATH"
cd "$scratch/project"

say() { printf '\n\033[1m%s\033[0m\n' "\$ cavalcade $*" | { [ -n "${NO_COLOR:-}" ] || [ ! -t 1 ] && sed 's/\x1b\[[0-9;]*m//g' || cat; }; cavalcade "$@"; }

say run "rename cavalcade.testing.trees:MemoryTree to InMemoryTree" --python "$root/.venv/bin/python" --yes
middle=$(cavalcade log last --type edit.applied --json | awk 'END { print int((NR + 1) / 2) }')
event=$(cavalcade log last --type edit.applied --json | sed -n "${middle}p" | python3 -c 'import json,sys; print(json.loads(sys.stdin.readline())["version"])')
say restore last --at "#$event" --into "$scratch/middle"
printf '\nIn the middle, %s files have the new name; in the result, %s:\n' \
  "$(grep -rlE '\bInMemoryTree\b' "$scratch/middle" --include='*.py' | wc -l)" \
  "$(git grep -lE '\bInMemoryTree\b' "$(git for-each-ref --format='%(refname)' refs/heads/cavalcade)" -- '*.py' | wc -l)"
say why src/cavalcade/testing/trees.py:"$(git grep -n '^class InMemoryTree' "$(git for-each-ref --format='%(refname)' refs/heads/cavalcade)" -- src/cavalcade/testing/trees.py | cut -d: -f3)" --run last
say verify last
