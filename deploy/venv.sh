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
  # A change of what is to be installed installs again, as does a copy that `pip install .` has put
  # in place of the link to this checkout; otherwise nothing is looked up.
  stamp=$(cat pyproject.toml setup.py constraints.txt | cksum)
  if [ "$(cat "$directory/.installed" 2>/dev/null)" != "$extras $stamp" ] ||
    ! compgen -G "$directory/lib/python3*/site-packages/__editable__.image_feature_extractor-*" \
      > /dev/null
  then
    [ -x "$directory/bin/python" ] || "$python" -m venv "$directory"
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check \
      --constraint constraints.txt --editable ".[$extras]"
    echo "$extras $stamp" > "$directory/.installed"
  fi
}
