# SPDX-License-Identifier: Apache-2.0
"""`python -m i2z_jax ...` is `i2z ...`, also where scripts are not on the path."""

from i2z_jax.commands import main

if __name__ == "__main__":
    main()
