# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.demo` is `i2z demo`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="demo")
