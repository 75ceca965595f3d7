#!/usr/bin/env bash
# A Flink cluster on this machine, of separate processes, to try the extractor on.
#   cluster.sh start [TASKMANAGERS]   fetches Flink from PyPI, starts it (2)
#   cluster.sh stop
#   cluster.sh jobmanager|taskmanager [-DNAME=VALUE ...]   one of them, in the foreground
# FLINK_DIR holds it (~/.cache/image-features-flink), FLINK_VERSION says which (1.19.3), FLINK_RUN_DIR
# has logs and process ids (FLINK_DIR). Java 11 or 17 and Python with pip are needed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
directory=${FLINK_DIR:-$HOME/.cache/image-features-flink}
version=${FLINK_VERSION:-1.19.3}
home=$directory/$version/pyflink
run=${FLINK_RUN_DIR:-$directory}

# What Flink's own config.yaml opens, so that its serializers may look into Java's classes.
java=(java -XX:+UseG1GC)
for package in util lang net io nio time lang.reflect text math util.concurrent \
  util.concurrent.atomic util.concurrent.locks; do
  java+=("--add-opens=java.base/java.$package=ALL-UNNAMED")
done
java+=(--add-exports=java.base/sun.net.util=ALL-UNNAMED
  --add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED
  --add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED)

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

fetch() {
  command -v java > /dev/null || {
    echo "Flink needs Java 11 or 17, and there is no java on the PATH; install it." >&2
    exit 2
  }
  [ -d "$home" ] || "${PYTHON:-python3}" -m pip install --quiet --no-deps \
    --target "$directory/$version" "apache-flink-libraries==$version"
  mkdir -p "$run"
}

# PyPI's Flink has its jars and none of its scripts.
role() {
  local name=$1 class memory
  shift
  fetch
  case $name in
    jobmanager)
      class=org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint memory=768m ;;
    taskmanager)
      class=org.apache.flink.runtime.taskexecutor.TaskManagerRunner memory=512m ;;
  esac
  exec "${java[@]}" "-Xmx$memory" -XX:MaxDirectMemorySize=768m \
    "-Dlog4j.configurationFile=$here/log4j.properties" \
    -cp "$home/lib/*" "$class" --configDir "$here" "$@"
}

start() {
  local count=$1
  fetch
  for name in jobmanager $(yes taskmanager | head -n "$count"); do
    number=$(find "$run" -name "$name-*.pid" | wc -l)
    nohup bash "${BASH_SOURCE[0]}" "$name" > "$run/$name-$number.log" 2>&1 < /dev/null &
    echo $! > "$run/$name-$number.pid"
  done
  echo "Flink comes up at http://localhost:8081; logs are in $run."
}

stop() {
  local file
  for file in "$run"/*.pid; do
    [ -e "$file" ] || continue
    kill "$(cat "$file")" 2> /dev/null || true
    rm "$file"
  done
}

case ${1:-} in
  start) start "${2:-2}" ;;
  stop) stop ;;
  jobmanager | taskmanager) role "$@" ;;
  *) usage ;;
esac
