#!/usr/bin/env bash
# Starts the sandbox and takes one subscription from the order to a running
# instance, as a frontend would, with curl. Called by ./run demo.
set -euo pipefail

port=${demo_port:-8080}
once=${demo_once:-false}
server=build/release/slipway
work=$(mktemp -d)
sandbox_pid=

finish() {
  if [[ -n $sandbox_pid ]] && kill -0 "$sandbox_pid" 2> /dev/null; then
    kill -TERM "$sandbox_pid" 2> /dev/null || true
    wait "$sandbox_pid" 2> /dev/null || true
  fi
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

bold() { printf '\033[1m%s\033[0m\n' "$*"; }

"$server" serve --sandbox --port "$port" > "$work/banner" 2> "$work/log" &
sandbox_pid=$!

# The banner comes when everything is up; the database is the slow part.
for _ in $(seq 600); do
  grep -q 'operator token' "$work/banner" && break
  if ! kill -0 "$sandbox_pid" 2> /dev/null; then
    cat "$work/log" >&2
    exit 1
  fi
  sleep 0.1
done
from_banner() { sed -n "s/^  $1  *\([^ ]*\).*/\1/p" "$work/banner"; }
shop=$(from_banner 'try it')
api=$(from_banner API)
alipay=$(from_banner Alipay)
wechat=$(from_banner 'WeChat Pay')
railway=$(from_banner Railway)
mailbox=$(from_banner mailbox)
token=$(from_banner 'user token')

# call METHOD PATH [BODY] prints the answer's data.
call() {
  curl -sS -X "$1" "$api$2" -H "Authorization: Bearer $token" \
    -H 'Content-Type: application/json' ${3:+-d "$3"} > "$work/answer"
  jq -e '.success' "$work/answer" > /dev/null || {
    cat "$work/answer" >&2
    exit 1
  }
  jq '.data' "$work/answer"
}

bold "Open $shop in a browser to buy one yourself"
echo "   Meanwhile this script does the same with curl:"

bold "1. A user picks a plan"
call GET /api/plans | jq -r '.[] | "   \(.planType)  \(.title)  \(.amount) \(.currency) for \(.periodDays) days"'
subscription=$(call POST /api/subscriptions \
  '{"planType":"PRO","channelCredentials":{"TELEGRAM":{"botToken":"123456:demo"}}}' |
  jq -r .subscriptionId)
echo "   POST /api/subscriptions -> $subscription"

bold "2. A payment order is created"
order=$(call POST /api/payment/create \
  "{\"subscriptionId\":\"$subscription\",\"gateway\":\"ALIPAY\",\"method\":\"page\"}")
order_id=$(jq -r .orderId <<< "$order")
echo "   POST /api/payment/create -> $order_id, $(jq -r '.amount + " " + .currency' <<< "$order")"

bold "3. The user pays on Alipay's page; Alipay posts its callback"
curl -sS "$(jq -r .payUrl <<< "$order")" > "$work/cashier.html"
curl -sS -X POST "${alipay}sandbox/trades/$order_id/pay" > /dev/null
echo "   paid; the callback is on its way"

bold "4. The instance comes up"
last=
status=
deadline=$((SECONDS + 120))
while ((SECONDS < deadline)); do
  now=$(call GET "/api/deployment/status/$subscription")
  status=$(jq -r .status <<< "$now")
  line=$(jq -r '"   \(.progress)%\t\(.status)\t\(.message)"' <<< "$now")
  [[ $line != "$last" ]] && echo "$line"
  last=$line
  [[ $status == running || $status == failed ]] && break
  sleep 0.2
done
# The mail follows the state within a moment.
for _ in $(seq 100); do
  mails=$(curl -sS "${mailbox}sandbox/mails")
  [[ $(jq '.data | length' <<< "$mails") -gt 0 ]] && break
  sleep 0.1
done

bold "Timeline of $subscription"
call GET "/api/deployment/logs/$subscription?limit=200" |
  jq -r '.logs[] | "   \(.timestamp | .[11:23])  \(.message)"'
bold "Told to the user"
call GET /api/notifications | jq -r '.[] | "   in-app  \(.type)  \(.title)  \(.message)"'
jq -r '.data[] | "   mail    to \(.to | join(", "))  \(.subject)"' <<< "$mails"
echo "   instance: $(call GET "/api/subscriptions/$subscription" | jq -r '.publicUrl')"
cat "$work/banner"

if [[ $status != running ]]; then
  echo "The subscription did not reach running; the server's log:" >&2
  cat "$work/log" >&2
  exit 1
fi
[[ $once == true ]] && exit 0

cat << TEXT
Try it yourself at $shop, or:
  curl -s $api/api/subscriptions -H "Authorization: Bearer \$TOKEN" | jq
  The switches at $railway make builds fail, answers get lost, and more.
  Mails are at $mailbox, trades at $alipay and
  $wechat: pay there, lose callbacks, send them late or
  a hundred times, give money back.
Ctrl-C ends it.
TEXT
wait "$sandbox_pid"
