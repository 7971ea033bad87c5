# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.data ...` is `i2z data ...`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="data")
