# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.synth ...` is `i2z synth ...`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="synth")
