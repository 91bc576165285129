#!/bin/sh
# Copy a profile over params.yaml: sh scripts/profile.sh NAME
set -eu
names=$(cd profiles && ls *.yaml | sed 's/\.yaml$//' | tr '\n' ' ')
case ${1:-} in */*) known_name=no ;; *) known_name=yes ;; esac
if [ $known_name = no ] || [ ! -f "profiles/${1:-}.yaml" ]; then
    echo "profile: error: got P='${1:-}', wanted one of: ${names}- for example make profile P=laptop" >&2
    exit 1
fi
# Edits that are in no commit and no profile would be lost.
known() {
    for profile in profiles/*.yaml; do cmp -s params.yaml "$profile" && return 0; done
    git ls-files --error-unmatch params.yaml >/dev/null 2>&1 && git diff --quiet HEAD -- params.yaml 2>/dev/null
}
if [ -f params.yaml ] && ! known; then
    echo "profile: error: params.yaml has uncommitted edits: commit them, or drop them: git checkout HEAD params.yaml" >&2
    exit 1
fi
cp "profiles/$1.yaml" params.yaml
echo "params.yaml is now profile $1; run it with make repro"
