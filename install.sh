#!/bin/sh
# Make a virtual environment in $1 with exactly the packages that constraints.txt pins: by uv where it is present, else by pip.
set -eu
venv=$1
supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'

python=
for candidate in ${PYTHON:-} python3 python3.12 python3.11; do
    if "$candidate" -c "$supported" 2>/dev/null; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
    echo "value-model needs Python 3.11 or 3.12; found: $(python3 --version 2>&1)." >&2
    echo "Install one of them, or name it: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi

echo "Installing into $venv with $("$python" --version) (the first time takes some minutes: TensorFlow is large)"
if command -v uv >/dev/null 2>&1; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
    uv pip install --quiet --python "$venv/bin/python" --constraint constraints.txt --editable '.[datasets,dev]'
else
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[datasets,dev]'
fi
