#!/usr/bin/env bash
# The test of the test: broken.sh [NAME...]. Breaks the library on purpose, in each of the ways that are patches in torture/broken, and
# has the torture find that out, within a bounded number of seeds. A variant that goes unnoticed is a failure, as is one
# that cannot be built any more.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tree=$root/target/broken/tree
export CARGO_TARGET_DIR=$root/target/broken/build CARGO_PROFILE_DEV_DEBUG=0
CARGO=${CARGO:-cargo}
# From the first seed on, so many.
first=1 most=${BROKEN_SEEDS:-400}

mkdir -p "$root/target/broken"
exec 9> "$root/target/broken/lock"
flock 9
rm -rf "$tree"
mkdir -p "$tree" "$CARGO_TARGET_DIR"
tar -C "$root" --exclude=./target --exclude=./.git -cf - . | tar -C "$tree" -xf -
cd "$tree"
# What was built last may have been broken.
touch src/lib.rs

torture() {
    "$CARGO" build --quiet -p kvwal-torture >&2
    timeout 300 "$CARGO_TARGET_DIR/debug/kvwal-torture" run --seed "$first" --seeds "$1" --seconds 100000
}

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for patch in torture/broken/*.patch; do
        name=$(basename "$patch" .patch)
        # Those are for the schedules.
        [[ $name == commit-* ]] || names+=("$name")
    done
fi

if ! torture 5 > ../output; then
    cat ../output >&2
    echo "broken.sh: the library is not even whole before it is broken" >&2
    exit 1
fi

failed=0
for name in "${names[@]}"; do
    patch=$root/torture/broken/$name.patch
    patch --quiet -p1 < "$patch"
    printf '%-52s ' "[broken: $name]"
    status=0
    torture "$most" > ../output || status=$?
    if [ "$status" -eq 0 ] || [ "$status" -eq 124 ]; then
        echo "NOT NOTICED in $most seeds or five minutes"
        failed=$((failed + 1))
    elif found=$(grep -m 1 '^seed ' ../output); then
        echo "caught: $found" | cut -c 1-150
    else
        cat ../output >&2
        echo "broken.sh: $name was not run" >&2
        exit 1
    fi
    patch --quiet -R -p1 < "$patch"
done
echo "$((${#names[@]} - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
