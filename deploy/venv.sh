# Sourced by run_local.sh and run_tests.sh: makes or reuses an environment.
# usage: use_venv DIRECTORY EXTRAS
use_venv() {
  local directory=$1 extras=$2 python stamp
  python=$(command -v python3.11 || command -v python3.12 || command -v python3) || {
    echo "Python 3.11 or 3.12 is needed and none was found." >&2
    return 2
  }
  "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || {
    echo "Python 3.11 or 3.12 is needed; $python is $("$python" --version)." >&2
    return 2
  }
  # A change of what is to be installed installs again; otherwise nothing is looked up.
  stamp=$(cat setup.py constraints.txt | cksum)
  if [ "$(cat "$directory/.installed" 2>/dev/null)" != "$extras $stamp" ]; then
    [ -x "$directory/bin/python" ] || "$python" -m venv "$directory"
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check \
      --constraint constraints.txt --editable ".[$extras]"
    echo "$extras $stamp" > "$directory/.installed"
  fi
}
