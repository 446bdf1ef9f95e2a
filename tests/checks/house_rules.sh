#!/usr/bin/env bash
# What reviewers would have to look for otherwise. Prints every offence with its
# place and fails when there is one.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
offences=0

# forbid WHAT PATTERN PATH…
forbid() {
  local what=$1 pattern=$2 found
  shift 2
  found=$(grep -rnE --include='*.cpp' --include='*.hpp' "$pattern" "$@" 2> /dev/null)
  [[ -z $found ]] && return
  printf '%s:\n%s\n' "$what" "$found"
  offences=$((offences + 1))
}

source_folders=(actors config http persistence main.cpp)

stray=$(grep -nE '#include' actors/lifecycle/*.?pp | grep -vE '"actors/lifecycle/|<[a-z_]+>')
if [[ -n $stray ]]; then
  printf 'the core includes nothing but the standard library and itself:\n%s\n' "$stray"
  offences=$((offences + 1))
fi
forbid "the core reads no clock" 'system_clock::now|steady_clock|time\(nullptr\)' \
  actors/lifecycle/decide.cpp actors/lifecycle/describe.cpp
forbid "no wait without an end" 'caf::infinite' "${source_folders[@]}"
forbid "nothing sleeps" 'sleep_for|sleep_until|usleep\(' "${source_folders[@]}"
forbid "no shell" 'std::system\(|popen\(' "${source_folders[@]}"
forbid "actors know neither edges nor database" '#include "(http|persistence)/' actors
forbid "persistence does not know http" '#include "http/' persistence
forbid "http knows no SQL" '#include "persistence/' http/api http/client http/crypto \
  http/gateway http/mail http/provider http/sandbox http/server
forbid "json::value{x} makes an array of x: write json::value(x)" \
  'json::value\{[^}]' "${source_folders[@]}"
forbid "nothing is left for later" 'TODO|FIXME' "${source_folders[@]}" tests/unit tests/support

headers=$(find actors config http persistence tests benchmarks -name '*.hpp')
[[ -n $headers ]] || { echo "no headers found"; exit 1; }
for header in $headers; do
  if ! grep -q '^#pragma once' "$header"; then
    echo "$header: no #pragma once"
    offences=$((offences + 1))
  fi
done

if ((offences > 0)); then
  echo "$offences house rule(s) broken"
  exit 1
fi
echo "house rules kept"
