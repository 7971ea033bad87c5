# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.inspect` is `i2z inspect`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="inspect")
