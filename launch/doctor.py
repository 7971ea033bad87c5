# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.doctor` is `i2z doctor`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="doctor")
