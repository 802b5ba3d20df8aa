#!/bin/sh
# Writes TensorFlow Serving's ssl_config from a certificate's files: it takes the PEM text itself, not
# the names of files.
#
#   write-ssl-config.sh /certificate /run/tls/ssl.config
#
# For mutual TLS, set client_verify: callers then need a certificate by the authority in ca.crt.
set -eu
umask 077

quoted() { # one string a line; the text form joins strings that follow each other
  sed 's/.*/  "&\\n"/' "$1"
}

for file in tls.key tls.crt; do
  if [ ! -s "$1/$file" ]; then
    echo "write-ssl-config: Expected $1/$file, from cert-manager. Received: nothing" >&2
    exit 1
  fi
done
{
  echo "server_key:"
  quoted "$1/tls.key"
  echo "server_cert:"
  quoted "$1/tls.crt"
  if [ -s "$1/ca.crt" ]; then
    echo "custom_ca:"
    quoted "$1/ca.crt"
  fi
  echo "client_verify: false"
} >"$2"
