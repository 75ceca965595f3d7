#!/usr/bin/env bash
# One night's run, for systemd, cron and Kubernetes: what is new or changed since the runs before.
#   nightly.sh [options of extract]
# Variables:
#   INPUT    what to read: a manifest, a directory or a glob
#   OUTPUT   the dataset
#   OPTIONS  more options of extract, apart by blanks; one that has blanks in it is given as an argument
#   NOTIFY   the URL to notify; it stays out of the command line, which all users of a machine see
#   RUN_ID   the run, to take up an earlier night's (nightly-YYYYMMDD, the date in UTC)
# Exit codes are those of extract.
set -euo pipefail

fail() {
  echo "nightly.sh: $1" >&2
  exit 2
}

# All attempts of one night have one name: that is how they take each other up.
default_run_id() {
  local job=${KUBERNETES_JOB:-}
  # A CronJob names its Jobs after itself and the minutes since 1970 of the time that they were due.
  # Eight digits from 21000000 on are that, and no date.
  if [[ $job =~ -((2[1-9]|[3-9][0-9])[0-9]{6})$ ]]; then
    date -u -d "@$((BASH_REMATCH[1] * 60))" +nightly-%Y%m%d
  else
    echo "${job:-nightly-$(date -u +%Y%m%d)}"
  fi
}

[ -n "${INPUT:-}" ] || fail "INPUT is not set: it names the images, by a manifest or a directory."
[ -n "${OUTPUT:-}" ] || fail "OUTPUT is not set: it names the dataset, a directory or gs://."
command -v image-features > /dev/null || fail "image-features is not on the PATH; install it."
run_id=${RUN_ID:-$(default_run_id)}
# Read, not left unquoted: a glob among the options is for extract.
read -r -d '' -a options <<< "${OPTIONS:-}" || true
[ -z "${NOTIFY:-}" ] || export IMAGE_FEATURES_NOTIFY="$NOTIFY"

exec image-features extract --incremental \
  --input="$INPUT" \
  --output="$OUTPUT" \
  --run_id="$run_id" \
  ${options[@]+"${options[@]}"} \
  "$@"
