#!/usr/bin/env bash
# Runs the fuzzers that were built in FOLDER. usage: run.sh FOLDER [NAME…]
#
# SLIPWAY_FUZZ_SECONDS  for each fuzzer (60)
# SLIPWAY_FUZZ_JOBS     at a time (2)
#
# What was learned stays in FOLDER/learned and is built on the next time. An
# input that breaks a property stays in FOLDER/findings.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(cd "${1:?usage: run.sh FOLDER [NAME…]}" && pwd)
shift
export here folder seconds=${SLIPWAY_FUZZ_SECONDS:-60}
jobs=${SLIPWAY_FUZZ_JOBS:-2}
[[ $seconds =~ ^[1-9][0-9]*$ && $jobs =~ ^[1-9][0-9]*$ ]] || {
  echo "SLIPWAY_FUZZ_SECONDS and SLIPWAY_FUZZ_JOBS take numbers above zero" >&2
  exit 2
}

# dictionary_of NAME
dictionary_of() {
  case $1 in
    xml | wechat_v2*) echo xml ;;
    json | alipay_response) echo json ;;
    form | alipay) echo form ;;
    wechat_v3) echo wechat_v3 ;;
  esac
}

# fuzz EXECUTABLE NAME SECONDS FOLDER…
fuzz() {
  local executable=$1 name=$2 limit=$3 dictionary
  shift 3
  dictionary=$(dictionary_of "$name")
  mkdir -p "$folder/logs" "$folder/findings"
  "$folder/$executable" -max_total_time="$limit" -timeout=10 -rss_limit_mb=2048 \
    -max_len=16384 -print_final_stats=1 ${FUZZ_SEED:+-seed="$FUZZ_SEED"} \
    -artifact_prefix="$folder/findings/$executable-" \
    ${dictionary:+-dict="$here/dictionaries/$dictionary.dict"} \
    "$@" > "$folder/logs/$executable.log" 2>&1
}

# One fuzzer for its time; tells about a finding.
run_one() {
  local name=$1 log=$folder/logs/fuzz_$1.log sources=()
  for source in "$folder/learned/$name" "$folder/seeds/$name" "$here/corpus/$name"; do
    [[ -d $source ]] && sources+=("$source")
  done
  if fuzz "fuzz_$name" "$name" "$seconds" "${sources[@]}"; then
    local runs coverage
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -1)
    # A fuzzer that hardly ran has shown nothing.
    if ((${runs:-0} < 100)); then
      printf 'FAILED  %-17s only %s inputs; see %s\n' "$name" "${runs:-0}" "$log"
      return 1
    fi
    printf 'ok      %-17s %9s inputs, %s\n' "$name" "$runs" "$coverage"
  else
    printf 'FAILED  %-17s %s\n        input: %s\n        log:   %s\n' "$name" \
      "$(grep -m 1 -E 'broken property|ERROR: |runtime error' "$log" || echo 'no reason given')" \
      "$(sed -n 's/^artifact_prefix=.*Test unit written to //p' "$log" | tail -1)" "$log"
    return 1
  fi
}

# A fuzzer with a mistake in it, from one good message: it has to be found
# within a minute.
run_planted() {
  local name=$1 log=$folder/logs/planted_$1.log found=$folder/planted_findings
  mkdir -p "$found"
  rm -rf "$folder/learned/planted_$name"
  mkdir -p "$folder/learned/planted_$name"
  local before=$SECONDS
  if FUZZ_SEED=1 fuzz "planted_$name" "$name" 60 "$folder/learned/planted_$name" \
    "$folder/seeds/planted_$name"; then
    printf 'FAILED  %-17s the planted mistake was not found\n' "planted_$name"
    return 1
  fi
  mv -f "$folder/findings/planted_$name-"* "$found" 2> /dev/null || {
    printf 'FAILED  %-17s ended without an input; see %s\n' "planted_$name" "$log"
    return 1
  }
  grep -qE "$(expected_of "$name")" "$log" || {
    printf 'FAILED  %-17s found something else; see %s\n' "planted_$name" "$log"
    return 1
  }
  printf 'ok      %-17s the planted mistake was found in %s s\n' "planted_$name" \
    $((SECONDS - before))
}

# expected_of NAME: how the planted mistake shows.
expected_of() {
  case $1 in
    form) echo 'AddressSanitizer: heap-buffer-overflow' ;;
    xml) echo 'broken property: no element occurs twice' ;;
    *) echo "no mistake is planted in $1" ;;
  esac
}

export -f dictionary_of fuzz run_one run_planted expected_of

rm -rf "$folder/seeds"
"$folder/fuzz_seeds" "$folder/seeds"
steps=()
for executable in "$folder"/planted_* "$folder"/fuzz_*; do
  [[ -f $executable && -x $executable ]] || continue
  file=$(basename "$executable")
  [[ $file == fuzz_seeds ]] && continue
  name=${file#*_}
  (($# > 0)) && [[ " $* " != *" $name "* ]] && continue
  if [[ $file == planted_* ]]; then
    steps+=("run_planted $name")
  else
    mkdir -p "$folder/learned/$name"
    steps+=("run_one $name")
  fi
done
((${#steps[@]} > 0)) || {
  echo "no such fuzzer: $*" >&2
  exit 2
}
printf '%s\n' "${steps[@]}" | xargs -P "$jobs" -I {} bash -c '{}' || {
  echo "fuzzing found something, or could not run" >&2
  exit 1
}
