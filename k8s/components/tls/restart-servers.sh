#!/bin/sh
# Has Deployments start their pods anew, one after the other, when the certificate is another one than
# their pods have read: TensorFlow Serving reads its certificate when it starts, and never again.
#
#   restart-servers.sh /certificate/tls.crt image-classifier image-classifier-canary
#
# The certificate's digest becomes an annotation of the pods' template. The same digest again changes
# nothing; another one is a rollout like any other: new pods serve before old ones go. A Deployment that
# is not there is passed over. Run by the account of a pod that may patch these Deployments.
#
# POSIX sh, curl, and the small tools of any image that has a shell.
set -eu

ANNOTATION=image-classifier/certificate
ACCOUNT=${ACCOUNT:-/var/run/secrets/kubernetes.io/serviceaccount}
CERTIFICATE=${1:?Expected the certificate and the names of Deployments. Received: nothing}
shift

case $KUBERNETES_SERVICE_HOST in
  *:*) host=[$KUBERNETES_SERVICE_HOST] ;;
  *) host=$KUBERNETES_SERVICE_HOST ;;
esac
api=https://$host:$KUBERNETES_SERVICE_PORT/apis/apps/v1/namespaces/$(cat "$ACCOUNT/namespace")

if [ ! -s "$CERTIFICATE" ]; then
  echo "restart-servers: Expected $CERTIFICATE, from cert-manager. Received: nothing" >&2
  exit 1
fi
digest=$(sha256sum "$CERTIFICATE" | cut -c 1-64)
patch="{\"spec\":{\"template\":{\"metadata\":{\"annotations\":{\"$ANNOTATION\":\"$digest\"}}}}}"

failed=0
found=0
for deployment in "$@"; do
  # The token by stdin: a process' arguments are for all to see.
  if ! said=$(printf 'Authorization: Bearer %s\n' "$(cat "$ACCOUNT/token")" |
    curl --silent --show-error --max-time 30 --retry 3 --cacert "$ACCOUNT/ca.crt" --header @- \
      --header 'Content-Type: application/merge-patch+json' --request PATCH --data "$patch" \
      --write-out '\n%{http_code}' \
      "$api/deployments/$deployment?fieldManager=certificate-renewal" 2>&1); then
    echo "restart-servers: $deployment: $(printf %s "$said" | tr -s '\n ' ' ')" >&2
    failed=1
    continue
  fi
  code=$(printf '%s\n' "$said" | tail -n 1)
  case $code in
    200)
      found=1
      echo "restart-servers: $deployment has pods with certificate $digest, or starts them"
      ;;
    404) echo "restart-servers: $deployment is not there" ;;
    *)
      why=$(printf '%s\n' "$said" | sed -n 's/.*"message": *"\(.*\)",*$/\1/p' | head -n 1)
      echo "restart-servers: $deployment: HTTP $code $why" >&2
      failed=1
      ;;
  esac
done
if [ "$found" = 0 ] && [ "$failed" = 0 ]; then
  echo "restart-servers: Expected one of $*. Received: none is there" >&2
  failed=1
fi
exit "$failed"
