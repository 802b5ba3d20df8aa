#!/bin/sh
# Brings the versions that models.config wants, of all its models, from an object store into /models,
# whole or not at all.
#
#   publish-versions.sh once      before the server starts: 0 if each model has what it needs to answer
#   publish-versions.sh always    beside the server: looks every INTERVAL_S
#
# A model lies in the store where it lies below /models: base_path "/models/<model>" is
# $SOURCE/<model>. Of `specific` the versions are fetched that are listed, of `all` those that the store
# has, of `latest` the highest that are whole; of those the one before the last is kept and older ones
# are removed, for the volume has an end.
#
# A version is fetched into a hidden folder, which the server skips, compared file by file with the
# sha256 sums of its model_card.json, and renamed. An upload that is still going on is therefore never
# published: either the card is missing, or a file that the card names. Files that the card does not
# name (the gate's verdict, say) come along unchecked. A version that stands is never written to.
#
# POSIX sh and awk, rclone, and the small tools of any image that has a shell.
set -eu

: "${SOURCE:?Expected SOURCE=remote:bucket/path, the store. Received: nothing}"
CONFIG=${CONFIG:-/etc/tensorflow_serving/models.config}
STORE=${STORE:-/models}
INTERVAL_S=${INTERVAL_S:-10}
CARD=assets.extra/model_card.json
SCRIPTS=$(dirname "$0")

said=
saying=
say() { # once, until a round in which it is not so any more
  saying="$saying
$*"
  case "$said
" in *"
$*
"*) ;; *) echo "publish-versions: $*" >&2 ;; esac
}

last() { # the last line of what rclone said, without the time
  echo "$1" | tail -n 1 | sed 's,^[0-9/]* [0-9:]* *,,'
}

sums() { # the card's `files`, as sha256sum reads them
  tr '\n' ' ' <"$1" | sed 's/.*"files" *: *{//' | tr '}' '\n' |
    sed -n 's/^[ ,]*"\([^"]*\)" *: *{.*"sha256" *: *"\([0-9a-f]\{64\}\)".*/\2  \1/p'
}

publish() { # model version: 0 if it stands afterwards; says why it does not
  from=$SOURCE/$1/$2
  stands=$STORE/$1/$2
  aside=$STORE/$1/.incoming-$2
  [ ! -d "$stands" ] || return 0
  mkdir -p "$aside"
  if ! why=$(rclone copy --quiet "$from" "$aside" 2>&1 </dev/null); then
    say "$1, version $2: cannot be fetched from $from: $(last "$why")"
    return 1
  fi
  if [ ! -s "$aside/$CARD" ]; then
    say "$1, version $2: no $CARD in $from (yet)"
    return 1
  fi
  sums "$aside/$CARD" >"$aside.sha256"
  if [ ! -s "$aside.sha256" ]; then
    say "$1, version $2: $CARD names no files"
    return 1
  fi
  if ! wrong=$(cd "$aside" && sha256sum -c "../.incoming-$2.sha256" 2>/dev/null); then
    wrong=$(echo "$wrong" | grep -v ': OK$' | head -n 1)
    say "$1, version $2: not whole: $wrong"
    # A file that is there and wrong would be taken for fetched the next time.
    case $wrong in *FAILED) rm -rf "$aside" ;; esac
    return 1
  fi
  rm -f "$aside.sha256"
  mv "$aside" "$stands" || return 1
  say "$1, version $2 is published"
}

numbered() { # of a list of folders the versions, the highest first
  sed -n 's,^\([0-9][0-9]*\)/*$,\1,p' | sort -rn
}

publish_highest() { # model how-many, all of them without a number; what the store has
  if ! has=$(rclone lsf --dirs-only "$SOURCE/$1" 2>&1 </dev/null); then
    say "$1: cannot list the versions in $SOURCE/$1: $(last "$has")"
    return 0
  fi
  left=${2:--1}
  for version in $(echo "$has" | numbered); do
    [ "$left" -ne 0 ] || break
    ! publish "$1" "$version" || left=$((left - 1))
  done
  [ -n "${2:-}" ] || return 0
  # One more than the server serves, which may still load the others.
  for version in $(ls "$STORE/$1" | numbered | tail -n "+$(($2 + 2))"); do
    rm -rf "${STORE:?}/$1/$version"
    say "$1, version $version is removed: newer ones stand"
  done
}

publish_missing() { # policy model
  mkdir -p "$STORE/$2"
  case $1 in
    specific:*)
      for version in $(echo "${1#specific:}" | tr , ' '); do
        publish "$2" "$version" || :
      done
      ;;
    latest:*) publish_highest "$2" "${1#latest:}" ;;
    all) publish_highest "$2" ;;
  esac
}

lacks() { # policy label's-version model: whether the server could not answer for it; says why
  if [ "$2" != - ]; then
    [ ! -d "$STORE/$3/$2" ] || return 1
    say "$3: version $2, where the label stable points, is not there"
  else
    [ "$1" != specific: ] || return 1
    [ -z "$(ls "$STORE/$3" | numbered)" ] || return 1
    say "$3: no version is there"
  fi
}

round() { # one look at models.config; 0 if the server lacks nothing
  said=$saying
  saying=
  failed=0
  stable=
  if ! wanted=$(LC_ALL=C awk -f "$SCRIPTS/models-config.awk" "$CONFIG"); then
    say "$CONFIG:${wanted:- cannot be read}"
    return 1
  fi
  while read -r policy label path; do
    model=$(printf '%s\n' "$path" | tr -s / | sed -n 's,^/models/\(.*[^/]\)/*$,\1,p')
    case /$model/ in
      // | */../* | */./*)
        # s3://, say, is the server's own matter.
        [ -z "$path" ] || say "base_path $path is not below /models/: left to the server"
        continue
        ;;
    esac
    [ "$label" = - ] || stable=$label
    [ "$1" = always ] || rm -rf "$STORE/$model"/.incoming-*
    publish_missing "$policy" "$model"
    ! lacks "$policy" "$label" "$model" || failed=1
  done <<MODELS
$wanted
MODELS
  if [ -z "$stable" ]; then
    say "Expected a label \"stable\" in $CONFIG. Received: none"
    failed=1
  fi
  return "$failed"
}

case ${1:-} in
  once) round once ;;
  always)
    while :; do
      round always || :
      sleep "$INTERVAL_S"
    done
    ;;
  *)
    echo "publish-versions: Expected once or always. Received: ${1:-nothing}" >&2
    exit 2
    ;;
esac
