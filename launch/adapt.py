# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.adapt` is `i2z adapt`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="adapt")
