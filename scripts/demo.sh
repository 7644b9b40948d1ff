#!/usr/bin/env bash
# The main job on real code: one rename across a copy of this repository, then back to the middle of the run.
# Everything it makes lies in the folder given as the first argument, by default .cache/demo of this clone.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/need.sh

root=$PWD
scratch=$(realpath -m "${1:-.cache/demo}") # from here on, absolute
for name in ${!CAVALCADE_@} ${!GIT_@}; do # the demo is the same whatever is set; scripted git configuration stays
  [[ $name == GIT_CONFIG* ]] || unset "$name"
done
export CAVALCADE_HOME=$scratch/data PATH="$root/.venv/bin:$PATH"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' cyan=$'\e[36m' plain=$'\e[0m'; else bold='' cyan='' plain=''; fi
chapter() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$cyan" "$*" "$plain"; }
say() { show "cavalcade $*"; cavalcade "$@"; }

# In two parts, so that this file doesn't name the symbol: it would be listed as a place that may mean it.
module=cavalcade.testing.runs symbol=MemoryRun new=RunInMemory
file=src/${module//.//}.py

rm -rf "$scratch"
mkdir -p "$scratch"
git clone --quiet --no-hardlinks "$root" "$scratch/project"
cd "$scratch/project"
echo "A copy of this repository is in $scratch/project."
echo "Its class $symbol, in $file, will be called $new."

chapter "1. Ask. A plan is made, and nothing happens until it is approved"
show "cavalcade run \"rename $module:$symbol to $new\" --python .venv/bin/python"
status=0
cavalcade run "rename $module:$symbol to $new" --python "$root/.venv/bin/python" </dev/null || status=$?
[ $status = 3 ] || exit $status # 3: it waits for a person

chapter "2. Approve. Edits pass the gates; then the tests that can notice them run, before and after, in the sandbox"
say approve last
branch=$(git for-each-ref --format='%(refname:short)' refs/heads/cavalcade)

chapter "3. Go back to the middle of the run"
applied=$(cavalcade log last --type edit.applied --json | python3 -c 'import json, sys; print(*(json.loads(line)["version"] for line in sys.stdin))')
read -ra events <<<"$applied"
say restore last --at "${events[(${#events[@]} - 1) / 2]}" --into "$scratch/middle"
mapfile -t files < <(git diff --name-only "HEAD...$branch")
count() { grep -lw "$new" "${files[@]/#/$1/}" | wc -l; }
echo "Of the ${#files[@]} files, $(count .) have the new name at the start, $(count "$scratch/middle") in the middle," \
  "$(git grep -lw "$new" "$branch" -- "${files[@]}" | wc -l) in the result."

chapter "4. Ask why a line is as it is"
say why "$file:$(git grep -n "^class $new" "$branch" -- "$file" | cut -d: -f3)" --run last

chapter "5. Check the record: a chain of hashes over every event"
say verify last

chapter "Done. In $scratch/project, on branch $(git branch --show-current) as before"
echo "  git diff $(git branch --show-current)...$branch   what the run made"
echo "  docs/quickstart.md   goes on from here"
