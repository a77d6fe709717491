#!/usr/bin/env bash
# Installs the wheel as a user would and tests what is installed, and the examples in the project's documents:
# test.sh PYTHON OUT, where `make wheel` has put it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$1
out=$(cd "$2" && pwd)
export PYTHONDONTWRITEBYTECODE=1

rm -rf "$out/venv"
"$python" -m venv --system-site-packages "$out/venv"
"$out/venv/bin/pip" install --quiet --no-index "$out"/wheel/kvwal-*.whl

(cd "$here" && "$out/venv/bin/python" -m mypy --cache-dir "$out/mypy")
# From elsewhere, so that nothing but the installed package can be meant.
cd "$out"
venv/bin/python -m pytest -q -p no:cacheprovider -c "$here/pyproject.toml" --rootdir "$here" "$here/tests" \
    "$here/README.md"

example() {
    awk '/^```python$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$here/../../$1" >example.py
    rm -rf my-store
    output=$(venv/bin/python -W error example.py)
    if [ "$output" != "$2" ]; then
        echo "the example in $1 printed '$output' instead of $2" >&2
        exit 1
    fi
}
example README.md "b'Ada'"
example docs/getting-started.md Ada
