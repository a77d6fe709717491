#!/usr/bin/env bash
# The test of the test: broken.sh KIND[/NAME].... Breaks the library on purpose, in each of the ways that are patches in
# torture/broken/KIND, and has the tests of that kind find it out: the torture within a bounded number of seeds, the
# schedules, the histories, ThreadSanitizer. A variant that goes unnoticed is a failure, as is one that cannot be built.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
place=$root/target/broken
[ $# -gt 0 ] || { echo "usage: broken.sh KIND[/NAME]..." >&2; exit 2; }
CARGO=${CARGO:-cargo}
# Little is to be compiled for each.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=1
# For each variant, in seconds. One that makes a test hang counts as noticed by none.
LIMIT=300

# run KIND SEEDS: the tests of a kind, in the working directory.
run() {
    case $1 in
        torture)
            CARGO_TARGET_DIR=$place/build "$CARGO" build --quiet -p kvwal-torture
            timeout "$LIMIT" "$place/build/debug/kvwal-torture" run --seed 1 --seeds "$2" --seconds "$LIMIT"
            ;;
        schedules)
            RUSTFLAGS="--cfg kvwal_shuttle" CARGO_TARGET_DIR=$place/shuttle "$CARGO" test --quiet --features sim --lib \
                --no-run && RUSTFLAGS="--cfg kvwal_shuttle" CARGO_TARGET_DIR=$place/shuttle \
                timeout "$LIMIT" "$CARGO" test --quiet --features sim --lib schedule
            ;;
        histories)
            CARGO_TARGET_DIR=$place/build "$CARGO" test --quiet -p kvwal-torture --test linearizable --no-run &&
                CARGO_TARGET_DIR=$place/build timeout "$LIMIT" "$CARGO" test --quiet -p kvwal-torture --test linearizable
            ;;
        tsan) CARGO_TARGET_DIR=$place/build timeout "$LIMIT" c-tests/tsan.sh "$place/tsan" ;;
        *) return 2 ;;
    esac
}

# What a failed run says, by kind.
complaint() {
    case $1 in
        torture) echo '^seed ' ;;
        schedules | histories) echo '^test result: FAILED' ;;
        tsan) echo '^WARNING: ThreadSanitizer' ;;
    esac
}

mkdir -p "$place/tree"
exec 9> "$place/lock"
flock 9
rm -rf "$place/tree"
mkdir -p "$place/tree"
tar -C "$root" --exclude=./target --exclude=./.git -cf - . | tar -C "$place/tree" -xf -
cd "$place/tree"
# Neither the header nor the libraries for C are wanted, and to make them takes long.
sed -i -e 's/^crate-type = .*/crate-type = ["rlib"]/' -e 's/^autotests = /build = false\n&/' Cargo.toml
# What was built last may have been broken.
touch src/lib.rs

passed=0 failed=0 whole=
for which in "$@"; do
    kind=${which%%/*}
    patches=("$root/torture/broken/$which".patch)
    [ "$which" != "$kind" ] || patches=("$root/torture/broken/$kind"/*.patch)
    if [ "$whole" != "$kind" ] && ! run "$kind" 3 > ../output 2>&1; then
        cat ../output >&2
        echo "broken.sh: $kind finds fault with the library although it is whole" >&2
        exit 1
    fi
    whole=$kind
    for patch in "${patches[@]}"; do
        printf '%-52s ' "[broken, $kind: $(basename "$patch" .patch)]"
        patch --quiet -p1 < "$patch"
        status=0
        run "$kind" 200 > ../output 2>&1 || status=$?
        if [ "$status" -ne 0 ] && found=$(grep -m 1 "$(complaint "$kind")" ../output); then
            echo "noticed: $found" | cut -c 1-160
            passed=$((passed + 1))
        else
            tail -n 30 ../output >&2
            echo "NOT NOTICED, exit status $status"
            failed=$((failed + 1))
        fi
        patch --quiet -R -p1 < "$patch"
    done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
