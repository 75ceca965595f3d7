#!/usr/bin/env bash
# Makes the environment, then runs the main job on this machine:
#   ./run_local.sh                                    on sample photographs
#   ./run_local.sh --input=LOCATION --output=DIR ...  on yours (all options of `extract`)
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
source deploy/venv.sh
use_venv .venv samples
bin=$PWD/.venv/bin
cd "$caller"

if [ $# -gt 0 ]; then
  exec "$bin/image-features" extract "$@"
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/image-features.XXXXXX")
"$bin/image-features" samples "$scratch/photographs"
"$bin/image-features" extract \
  --input="$scratch/photographs" --output="$scratch/features" --num_shards=2
"$bin/image-features" inspect --samples=3 "$scratch/features"
echo "The shards are in $(dirname "$scratch"/features/*/run.json)"
