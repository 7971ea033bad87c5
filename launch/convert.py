# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.convert` is `i2z convert`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="convert")
