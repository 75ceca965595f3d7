#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: submit.sh job      --input=LOCATION --output=DIR [options of extract]
       submit.sh template --input=LOCATION --output=DIR [parameters] [-- gcloud flags]

job       submits from here with `image-features extract`, and waits unless --no_wait is given.
template  writes the Flex Template to gs://BUCKET/templates/image-features.json and runs it; the
          parameters are those of metadata.json. What follows -- goes to
          `gcloud dataflow flex-template run`, such as --max-workers=5.

variables:
  PROJECT   the Google Cloud project
  REGION    the region of the job, such as europe-west4
  BUCKET    a bucket for temporary files and the template
  IMAGE     the image of deploy/dataflow/Dockerfile; `job` does without and has the workers
            install the package
  JOB_NAME  the name of a template's job (image-features-TIME)

exit codes: 0 done or submitted, 2 bad arguments; others are those of the command that runs.
TEXT
}

fail() {
  echo "submit.sh: $1" >&2
  exit 2
}

need_variable() {
  [ -n "${!1:-}" ] || fail "$1 is not set: $2; export $1=... first."
}

need_command() {
  command -v "$1" >/dev/null || fail "$1 is not on the PATH; $2"
}

submit_job() {
  need_command image-features "install this package with the extra [gcp]."
  exec image-features extract \
    --runner=DataflowRunner \
    --project="$PROJECT" \
    --region="$REGION" \
    --temp_location="$storage/temp" \
    --staging_location="$storage/staging" \
    ${IMAGE:+"--sdk_container_image=$IMAGE"} \
    "$@"
}

submit_template() {
  local template=$storage/templates/image-features.json inputs=0 name i parameters=()
  need_variable IMAGE "it names the image that launches the template and runs its workers"
  need_command gcloud "install the Google Cloud CLI."
  while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    case $1 in
      --input=*) inputs=$((inputs + 1)) ;;
      --*=*) ;;
      --*) set -- "$1=true" "${@:2}" ;;
      *) fail "$1 is not --NAME=VALUE, which the parameters of a template are." ;;
    esac
    # A parameter is given once: what several models say of themselves is apart by blanks.
    name=${1%%=*} name=${name#--}
    for i in ${parameters[@]+"${!parameters[@]}"}; do
      if [[ ${parameters[i]} == "--parameters=^|^$name="* ]]; then
        parameters[i]+=" ${1#*=}"
        shift
        continue 2
      fi
    done
    # Another delimiter than gcloud's comma, which is part of some values.
    parameters+=("--parameters=^|^${1#--}")
    shift
  done
  [ "$inputs" -le 1 ] || fail "a template takes one --input; give a manifest or a glob that names all."
  [ $# -eq 0 ] || shift
  gcloud dataflow flex-template build "$template" \
    --project="$PROJECT" \
    --image="$IMAGE" \
    --sdk-language=PYTHON \
    --metadata-file="$here/metadata.json"
  exec gcloud dataflow flex-template run \
    "${JOB_NAME:-image-features-$(date -u +%Y%m%d-%H%M%S)-$RANDOM}" \
    --project="$PROJECT" \
    --region="$REGION" \
    --template-file-gcs-location="$template" \
    --temp-location="$storage/temp" \
    --staging-location="$storage/staging" \
    "--parameters=^|^sdk_container_image=$IMAGE" \
    ${parameters[@]+"${parameters[@]}"} \
    "$@"
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1:-} in
  job | template) ;;
  -h | --help | help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
need_variable PROJECT "it names the Google Cloud project that runs the job"
need_variable REGION "it names the region that the job runs in"
need_variable BUCKET "it names the bucket for temporary files"
storage=gs://${BUCKET#gs://}
"submit_$1" "${@:2}"
