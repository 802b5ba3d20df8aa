#!/bin/sh
# Brings the versions that models.config lists from an object store into /models, whole or not at all.
#
#   publish-versions.sh once      before the server starts: 0 if `stable`'s version stands
#   publish-versions.sh always    beside the server: looks every INTERVAL_S
#
# A version is fetched into a hidden folder, which the server skips, compared file by file with the
# sha256 sums of its model_card.json, and renamed. An upload that is still going on is therefore never
# published: either the card is missing, or a file that the card names. Files that the card does not
# name (the gate's verdict, say) come along unchecked. A version that stands is never touched.
#
# POSIX sh, rclone, and the small tools of any image that has a shell.
set -eu

: "${SOURCE:?Expected SOURCE=remote:bucket/path, the store. Received: nothing}"
CONFIG=${CONFIG:-/etc/tensorflow_serving/models.config}
STORE=${STORE:-/models}
MODEL=${MODEL:-image_classifier}
INTERVAL_S=${INTERVAL_S:-10}
CARD=assets.extra/model_card.json

said=
say() { # once, until it is something else
  [ "$*" = "$said" ] || echo "publish-versions: $*" >&2
  said=$*
}

config() { # without comments, on one line
  sed 's/#.*//' "$CONFIG" | tr -s '[:space:]' ' '
}

listed() { # versions: 1 versions: 2, or versions: [1, 2]
  config | grep -oE 'versions ?: ?(\[[0-9, ]*\]|[0-9]+)' | tr -c '0-9\n' '\n' | grep . | sort -nu
}

stable() {
  config | sed -n 's/.*key *: *"stable" *value *: *\([0-9][0-9]*\).*/\1/p'
}

sums() { # the card's `files`, as sha256sum reads them
  tr '\n' ' ' <"$1" | sed 's/.*"files" *: *{//' | tr '}' '\n' |
    sed -n 's/^[ ,]*"\([^"]*\)" *: *{.*"sha256" *: *"\([0-9a-f]\{64\}\)".*/\2  \1/p'
}

publish() { # one version; says why it does not
  version=$1
  from=$SOURCE/$MODEL/$version
  aside=$STORE/$MODEL/.incoming-$version
  mkdir -p "$aside"
  if ! rclone copy --quiet "$from" "$aside"; then
    say "version $version: cannot be fetched from $from"
    return 1
  fi
  if [ ! -s "$aside/$CARD" ]; then
    say "version $version: no $CARD in $from (yet)"
    return 1
  fi
  sums "$aside/$CARD" >"$aside.sha256"
  if [ ! -s "$aside.sha256" ]; then
    say "version $version: $CARD names no files"
    return 1
  fi
  if ! wrong=$(cd "$aside" && sha256sum -c "../.incoming-$version.sha256" 2>/dev/null); then
    wrong=$(echo "$wrong" | grep -v ': OK$' | head -n 1)
    say "version $version: not whole: $wrong"
    # A file that is there and wrong would be taken for fetched the next time.
    case $wrong in *FAILED) rm -rf "$aside" ;; esac
    return 1
  fi
  rm -f "$aside.sha256"
  mv "$aside" "$STORE/$MODEL/$version"
  say "version $version is published"
}

publish_missing() {
  mkdir -p "$STORE/$MODEL"
  for version in $(listed); do
    [ -d "$STORE/$MODEL/$version" ] || publish "$version" || :
  done
}

case ${1:-} in
  once)
    rm -rf "$STORE/$MODEL"/.incoming-*
    publish_missing
    needed=$(stable)
    if [ -z "$needed" ]; then
      echo "publish-versions: Expected a label \"stable\" in $CONFIG. Received: none" >&2
      exit 1
    fi
    [ -d "$STORE/$MODEL/$needed" ]
    ;;
  always)
    while :; do
      publish_missing
      sleep "$INTERVAL_S"
    done
    ;;
  *)
    echo "publish-versions: Expected once or always. Received: ${1:-nothing}" >&2
    exit 2
    ;;
esac
