# Sourced by run_local.sh and run_tests.sh: makes or reuses an environment.
# usage: use_venv DIRECTORY EXTRAS
use_venv() {
  local directory=$1 extras=$2 candidate python='' stamp
  for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null
    then
      python=$candidate
      break
    fi
  done
  [ -n "$python" ] || {
    echo "Python 3.11, 3.12 or 3.13 is needed, and the PATH has none that runs." >&2
    return 2
  }
  stamp="$extras $(cat pyproject.toml setup.py constraints.txt | cksum)"
  venv_is_current "$directory" "$stamp" || {
    mkdir -p "$directory"
    (
      # Of two that start side by side one waits, since both would write the same files. Nothing
      # keeps them apart where there is no flock, as on macOS.
      if command -v flock > /dev/null; then flock 9; fi
      venv_is_current "$directory" "$stamp" && exit
      [ -x "$directory/bin/python" ] || "$python" -m venv "$directory"
      "$directory/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable ".[$extras]"
      echo "$stamp" > "$directory/.installed"
    ) 9> "$directory/.lock"
  }
}

# A change of what is to be installed installs again, as does a copy that `pip install .` has put in
# place of the link to this checkout; otherwise nothing is looked up.
# usage: venv_is_current DIRECTORY STAMP
venv_is_current() {
  [ "$(cat "$1/.installed" 2> /dev/null)" = "$2" ] &&
    compgen -G "$1/lib/python3*/site-packages/__editable__.image_feature_extractor-*" > /dev/null
}
