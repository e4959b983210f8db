# Sourced by the scripts: `setup runtime` or `setup dev` makes .venv hold exactly what the lock file names.

# An installed product has its bytecode. Where this is set, every process would compile anew what has changed since: 0.14 s
# of `up` after 150 files.
unset PYTHONDONTWRITEBYTECODE

need_package() { # need_package COMMAND-THAT-PROVES-IT PACKAGE
  if sh -c "$1" >/dev/null 2>&1; then return 0; fi
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "setup: installing $2" >&2
    { apt-get update -q && apt-get install -y -q --no-install-recommends "$2"; } >&2
  else
    echo "setup: '$2' is missing. Install it with: sudo apt-get install $2" >&2
    exit 1
  fi
}

setup() {
  python=${PYTHON:-python3}
  need_package "command -v $python" python3
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: Python 3.11 or newer is needed; $("$python" --version) found. Name another with PYTHON=..." >&2
    exit 1
  }
  need_package "command -v curl" curl
  want=$(cat "requirements/$1.txt" pyproject.toml | cksum)
  if [ "$(cat .venv/.setup-"$1" 2>/dev/null)" = "$want" ]; then return 0; fi
  need_package "$python -c 'import ensurepip, venv'" python3-venv
  echo "setup: installing the locked $1 packages into .venv (once)" >&2
  [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "requirements/$1.txt"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
  .venv/bin/python -m compileall -q src || true
  echo "$want" > ".venv/.setup-$1"
}
