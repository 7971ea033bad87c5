# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.train ...` is `i2z train ...`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="train")
