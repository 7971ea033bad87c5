# SPDX-License-Identifier: Apache-2.0
"""`python -m launch.track` is `i2z track`."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main(command="track")
