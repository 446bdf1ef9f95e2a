#!/usr/bin/env bash
# What is in packaging/ against the program as it is built: packages of the image,
# the unit, the proxies' configurations. Says which of the tools are missing here.
#
#   tests/checks/packaging.sh PROGRAM
set -uo pipefail
program=$(realpath "${1:?the program is expected}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
offences=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

offend() {
  echo "$*"
  offences=$((offences + 1))
}

# -- the image: every library comes from a package that is installed there --------

# Of the last stage, one a line.
packages=$(awk '/^FROM/ {on = 0; stages++} stages == 2 && /apt-get install/ {on = 1; next}
  on && /&&/ {on = 0} on {gsub(/[\\ ]/, ""); print}' packaging/Containerfile)
[[ -n $packages ]] || offend "Containerfile: no packages found in the last stage"

# Which package has a library: one question for all of them. /lib is a link to
# /usr/lib, and packages name either.
declare -A owners=()
loaded=$(ldd "$program")
candidates=$(awk '$3 ~ /^\// {print $3}' <<< "$loaded" | while read -r file; do
  for name in "$file" "$(realpath "$file")"; do
    printf '%s\n' "$name" "/usr$name" "${name#/usr}"
  done
done | sort -u)
while IFS=: read -r package rest; do
  owners[${rest##* }]=$package
done < <(xargs dpkg-query -S <<< "$candidates" 2> /dev/null)

# owner FILE prints the package that has it.
owner() {
  local name
  for name in "$1" "$(realpath "$1")"; do
    for name in "$name" "/usr$name" "${name#/usr}"; do
      [[ -n ${owners[$name]:-} ]] && echo "${owners[$name]}" && return
    done
  done
}

# What the packages bring along, with what those bring along.
declare -A brought=()
queue=$packages
while [[ -n $queue ]]; do
  new=()
  for package in $queue; do
    [[ -n ${brought[$package]:-} ]] || new+=("$package")
    brought[$package]=yes
  done
  queue=
  ((${#new[@]} > 0)) &&
    queue=$(dpkg-query -W -f '${Depends},${Pre-Depends}\n' "${new[@]}" 2> /dev/null |
      tr ',|' '\n\n' | sed 's/([^)]*)//; s/:any//; s/ //g' | sort -u | grep .)
done

declare -A wanted=()
while read -r library; do
  file=$(awk -v name="$library" '$1 == name {print $3}' <<< "$loaded")
  package=$(owner "${file:-$library}")
  case $package in
    '') offend "no package has $library" ;;
    libc6 | libgcc-s1) ;; # of every image
    *)
      wanted[$package]=yes
      grep -qx -- "$package" <<< "$packages" ||
        offend "Containerfile: $package is missing, for $library"
      ;;
  esac
done < <(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux')
while read -r file; do
  package=$(owner "$file")
  [[ -n ${brought[${package:-none}]:-} || $package == libc6 || $package == libgcc-s1 ]] ||
    offend "Containerfile: nothing brings along ${package:-a package for $file}"
done < <(awk '$3 ~ /^\// {print $3}' <<< "$loaded")
for package in $packages; do
  [[ $package == ca-certificates || $package == curl || -n ${wanted[$package]:-} ]] ||
    offend "Containerfile: $package is installed, and nothing is linked with it"
done

# -- the unit ----------------------------------------------------------------------

# Seconds of a span in the unit or the configuration's example.
seconds() {
  sed -n "s/^$1 *= *\"\{0,1\}\([0-9]*\)s\"\{0,1\}\$/\1/p" "$2"
}
stop=$(seconds stop_timeout config/slipway.example.toml)
patience=$(seconds TimeoutStopSec packaging/slipway.service)
((${patience:-0} > ${stop:-0} && ${stop:-0} > 0)) ||
  offend "slipway.service: TimeoutStopSec is ${patience:-missing}, http.stop_timeout ${stop:-missing}"

if command -v systemd-analyze > /dev/null; then
  # Where nothing is installed the program is somewhere else.
  sed "s#/usr/local/bin/slipway#$program#" packaging/slipway.service > "$work/slipway.service"
  said=$(systemd-analyze verify --man=no "$work/slipway.service" 2>&1)
  [[ $? == 0 && -z $said ]] || offend "slipway.service: $said"
  # Tenths; 2.0 is what systemd calls OK.
  systemd-analyze security --offline=true --threshold=20 --no-pager \
    "$work/slipway.service" > "$work/security" 2>&1 ||
    offend "slipway.service: $(tail -1 "$work/security")"
  sed -n 's/^→ //p' "$work/security"
else
  echo "not here: systemd-analyze, for slipway.service"
fi

# -- the proxies -------------------------------------------------------------------

if command -v nginx > /dev/null; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 \
    -subj /CN=pay.example.com -keyout "$work/key.pem" -out "$work/cert.pem" 2> "$work/openssl" ||
    offend "openssl: $(cat "$work/openssl")"
  sed "s#/etc/ssl/certs/.*\.pem#$work/cert.pem#; s#/etc/ssl/private/.*\.key#$work/key.pem#" \
    packaging/nginx.conf.example > "$work/site.conf"
  printf 'pid %s/pid;\nerror_log stderr;\nevents {}\nhttp { include %s/site.conf; }\n' \
    "$work" "$work" > "$work/nginx.conf"
  nginx -t -q -c "$work/nginx.conf" 2> "$work/nginx" ||
    offend "nginx.conf.example: $(cat "$work/nginx")"
else
  echo "not here: nginx, for nginx.conf.example"
fi
if command -v caddy > /dev/null; then
  HOME=$work caddy validate --adapter caddyfile --config packaging/Caddyfile.example \
    > "$work/caddy" 2>&1 || offend "Caddyfile.example: $(tail -2 "$work/caddy")"
else
  echo "not here: caddy, for Caddyfile.example"
fi

if ((offences > 0)); then
  echo "$offences thing(s) wrong in packaging/"
  exit 1
fi
echo "packaging fits"
