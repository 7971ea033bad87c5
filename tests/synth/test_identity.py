# SPDX-License-Identifier: Apache-2.0
"""How much there is of the synthetic world: controls and people."""

import itertools

import numpy as np

from i2z_jax.synth.expressions import NAMES
from i2z_jax.synth.head import ProceduralHead
from i2z_jax.synth.identity import Identity


def test_there_are_expressions_enough():
    assert len(set(NAMES)) >= 20


def test_thirty_people_are_thirty_faces():
    people = [Identity.sample(np.random.default_rng(k)) for k in range(30)]
    rest = np.zeros(len(NAMES))
    faces = [ProceduralHead(p, size=600).vertices(rest) for p in people]
    gaps = [
        np.linalg.norm(a - b, axis=-1).mean()
        for a, b in itertools.combinations(np.asarray(faces), 2)
    ]
    # Mean distance of corresponding points, mm: nobody is anybody's twin.
    assert min(gaps) > 1.0
    assert np.median(gaps) > 3.0
