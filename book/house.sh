#!/usr/bin/env bash
# The Makefile's steps that need more than a line. A step that fails says which one it was and what to do.
#   house.sh setup | step NAME COMMAND... | lab | serve
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
need_gb=4

fail() { # what, why, what to do
  printf '\nFAILED: %s\n  why: %s\n  do:  %s\n' "$1" "$2" "$3" >&2
  exit 1
}

step() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "== $name"
  "$@" || status=$?
  [ "$status" -eq 0 ] || fail "$name" "exit status $status of: $*" "read the lines above; the step alone: $*"
  echo "== $name: $((SECONDS - start)) s"
}

find_python() { # 3.11 first: it is the one the pins were locked on
  local candidate found=""
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
    found=$candidate
    "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1 && { echo "$candidate"; return; }
  done
  [ -z "$found" ] || fail "finding Python" "$found has no venv module" \
    "install it (Debian, Ubuntu: apt install python3-venv) and run the command again"
  fail "finding Python" "no Python 3.11 or newer among ${PYTHON:-python3.11, python3.12, python3.13, python3}" \
    "install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python3.12"
}

pip_install() { # what, arguments of pip install
  local what=$1
  shift
  echo "   $what"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" || fail "installing $what" \
    "pip could not get or install it (its message is above)" \
    "if it speaks of connections, names or time-outs: check the network and proxy, then run the command again; it resumes"
}

setup() {
  local python free start=$SECONDS
  python=$(find_python)
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "$free" -ge "$need_gb" ] || fail "checking the disk" "$free GB free here, $need_gb GB needed" \
      "free some space, or clone the project onto a larger disk"
    echo "== environment: .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || fail "creating .venv" "$python -m venv failed (its message is above)" \
      "install the venv module (Debian, Ubuntu: apt install python3-venv) and run the command again"
  fi
  if [ "${PINS:-locked}" = newest ]; then # the weekly cold build: the newest that pyproject.toml allows
    pip_install "the newest allowed versions" --upgrade -e '.[book,dev]'
    pip_install "k-diffusion" --upgrade --no-deps k-diffusion
  else
    pip_install "torch (the largest, first and alone)" -c constraints.txt "$(grep '^torch==' requirements.txt)"
    pip_install "the pinned packages" -c constraints.txt -r requirements.txt
    # k-diffusion asks for torchvision, CLIP and wandb; its samplers, which the tests run, need none of them
    pip_install "k-diffusion" --no-deps "$(grep '^k-diffusion==' constraints.txt)"
    pip_install "sdelab itself" --no-deps --no-build-isolation -e .
  fi
  # JupyterLab shall not ask other hosts for news, nor the reader whether it may
  install -D -m 644 book/lab_settings.json .venv/share/jupyter/lab/settings/overrides.json
  touch .venv/.ready
  echo "== environment ready: $((SECONDS - start)) s"
}

port_or_fail() { # step, port, make target
  .venv/bin/python - "$2" <<'PY' || fail "$1" "port $2 is taken by another program" "choose another: make $3 PORT=$(($2 + 1))"
import socket, sys
with socket.socket() as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(("127.0.0.1", int(sys.argv[1])))
    except OSError:
        sys.exit(1)
PY
}

case ${1:-} in
  setup) setup ;;
  step) shift; step "$@" ;;
  lab)
    port_or_fail "starting JupyterLab" "${PORT:=8888}" lab
    exec .venv/bin/python -m jupyterlab --ServerApp.root_dir=. --port="$PORT" --ServerApp.port_retries=0 ${LAB_OPTIONS:-} ;;
  serve)
    port_or_fail "serving the book" "${PORT:=8000}" serve
    echo "The book is at http://localhost:$PORT/   (Ctrl-C ends)"
    exec .venv/bin/python -m http.server "$PORT" --bind 127.0.0.1 --directory _build/site ;;
  *) sed -n 2,3p "$0"; exit 2 ;;
esac
