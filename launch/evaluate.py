# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.evaluate ...` is `i2z evaluate ...`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="evaluate")
