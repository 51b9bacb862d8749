#!/bin/sh
# Ask for a promotion from a pipeline, wait for people and rollout, and act on how it ended.
#
#   GATEHOUSE_URL and GATEHOUSE_TOKEN name the server and the service account.
#   Usage: promote.sh MODEL@VERSION ENVIRONMENT [REASON]
set -u

version=${1:?name a version, as in digit-reader@3}
environment=${2:?name an environment, as in production}
reason=${3:-}

gatehouse promote "$version" --to "$environment" --reason "$reason" --wait --timeout 1800
status=$?

case $status in
  0) echo "Live. Later steps may rely on $version in $environment." ;;
  10) echo "The service account may not ask for this; its owner can have the role granted." ;;
  11 | 12) echo "People said no, or not yet. Their words stand above." ;;
  13) echo "Nobody decided in time. Run this again to ask anew." ;;
  14) echo "A check does not pass. Evaluate again, or train a better version." ;;
  15) echo "Still waiting. Run this again later: it follows the same request."
    exit 0 ;;
  16) echo "The rollout was taken back; the version from before serves." ;;
  *) echo "It could not be asked for." ;;
esac
exit "$status"
