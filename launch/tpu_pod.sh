#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The same command on every host of a Cloud TPU slice:
#
#     launch/tpu_pod.sh NAME ZONE train regress --data /mnt/share/... --workdir ...
#
# NAME and ZONE are those of the TPU VM. /mnt/share is a file system that all of its hosts
# mount, with the package in the virtual environment /mnt/share/i2z (docs/scale.md); in
# another one, I2Z is its `i2z`. The hosts keep compiled programs there, too, or in
# JAX_COMPILATION_CACHE_DIR: JAX lets the first alone write them, and all read them.

set -euo pipefail
if (($# < 3)); then
    echo "usage: $0 NAME ZONE COMMAND [OPTIONS]" >&2
    exit 2
fi
name=$1 zone=$2
shift 2

# --distributed: a TPU VM knows its neighbours, but no variable says so.
command=$(printf '%q ' \
    env "JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR-/mnt/share/jax_cache}" \
    "${I2Z:-/mnt/share/i2z/bin/i2z}" --distributed "$@")
exec gcloud compute tpus tpu-vm ssh "${name}" --zone="${zone}" --worker=all \
    --command="${command}"
