#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The same command on every host of a Cloud TPU slice:
#
#     launch/tpu_pod.sh NAME ZONE train regress --data /mnt/share/... --workdir ...
#
# NAME and ZONE are those of the TPU VM. The package is installed on its hosts already
# (docs/scale.md), and /mnt/share is a file system that all of them mount.

set -euo pipefail
if (($# < 3)); then
    echo "usage: $0 NAME ZONE COMMAND [OPTIONS]" >&2
    exit 2
fi
name=$1 zone=$2
shift 2

# --distributed: a TPU VM knows its neighbours, but no variable says so.
command=$(printf '%q ' i2z --distributed "$@")
exec gcloud compute tpus tpu-vm ssh "${name}" --zone="${zone}" --worker=all \
    --command="JAX_COMPILATION_CACHE_DIR=\$HOME/.cache/i2z_jax ${command}"
