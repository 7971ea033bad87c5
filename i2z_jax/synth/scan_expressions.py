# SPDX-License-Identifier: Apache-2.0
"""Landmark displacements (mm) of each expression of a scanned head.

Head space: x to the subject's left, y up, z out of the face. "left" is the subject's
left, landmarks 9-16, 22-26, 42-47 of 300-W. Amounts are those of an adult face at a
full, not an extreme, expression.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from i2z_jax.types import Float, NDArray

JAW_ANGLE = np.radians(17.0)
# How far the points of the jaw line follow the jaw, from the ear (0) to the chin (8).
_JAW_SHARE = np.array([0, 0, 0, 0.25, 0.55, 0.8, 0.95, 1.0, 1.0])
_CORNERS = {"left": 54, "right": 48}
_SIDES = {"left": 1.0, "right": -1.0}


def handle_points(marks: Float[NDArray, "68 3"]) -> Float[NDArray, "70 3"]:
    """The points that expressions move: the landmarks and the two cheeks."""
    return np.concatenate(
        [marks, [_cheek(marks, 3, 48, 41), _cheek(marks, 13, 54, 46)]]
    )


def expressions(marks: Float[NDArray, "68 3"]) -> dict[str, Float[NDArray, "70 3"]]:
    """Name -> displacement of each handle at full weight."""
    moves: dict[str, np.ndarray] = {"jaw_open": _jaw_turn(marks, JAW_ANGLE)}
    for side, sign in _SIDES.items():
        moves[f"jaw_{side}"] = _jaw_follow() * [sign * 7.0, 0, 0]
    for side, sign in _SIDES.items():
        moves[f"smile_{side}"] = _smile(side, sign)
        moves[f"frown_{side}"] = _corner(side, [sign * 2.0, -6.0, -1.0])
        moves[f"blink_{side}"] = _blink(marks, side)
        moves[f"brow_raise_{side}"] = _brow(side, [0, 7.0, 1.0])
        moves[f"cheek_puff_{side}"] = _at({_cheek_index(side): [sign * 9.0, 0, 6.0]})
        moves[f"mouth_{side}"] = _mouth([sign * 6.0, 0, 0])
    moves["brow_frown"] = _at(
        {
            **{i: [1.5, -3.5, 1.0] for i in (18, 19)}, 20: [3.0, -4.5, 1.5],
            21: [4.0, -5.0, 2.0], 22: [-4.0, -5.0, 2.0], 23: [-3.0, -4.5, 1.5],
            **{i: [-1.5, -3.5, 1.0] for i in (24, 25)},
        }
    )  # fmt: skip
    moves["pucker"] = _pucker(marks)
    moves["lip_up"] = _at({i: [0, 4.0, 1.0] for i in (50, 51, 52, 61, 62, 63)})
    moves["lip_down"] = _at({i: [0, -4.5, 0.5] for i in (56, 57, 58, 65, 66, 67)})
    moves["nose_wrinkle"] = _at(
        {
            **{i: [0, 2.5, 0.5] for i in (31, 32, 33, 34, 35)},
            **{i: [0, 2.0, 0.5] for i in (50, 51, 52)},
        }
    )
    return moves


def _at(moves: Mapping[int, Any]) -> np.ndarray:
    field = np.zeros((70, 3))
    for index, move in moves.items():
        field[index] = move
    return field


def _jaw_follow() -> np.ndarray:
    """Share of the jaw's motion in each handle: chin and lower lip 1, upper lip 0."""
    share = np.zeros((70, 1))
    share[:9, 0] = _JAW_SHARE
    share[9:17, 0] = _JAW_SHARE[7::-1]
    share[[55, 56, 57, 58, 59, 65, 66, 67]] = 1.0
    share[[55, 59]] = 0.8
    share[[48, 54, 60, 64]] = 0.35
    share[[68, 69]] = 0.2
    return share


def _jaw_turn(marks, angle) -> np.ndarray:
    """A turn about the axis through the jaw joints, in front of the ears."""
    hinge = (marks[0] + marks[16]) / 2 - [0, 20.0, 0]
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    points = handle_points(marks)
    turned = (points - hinge) @ turn.T + hinge
    return (turned - points) * _jaw_follow()


def _corner(side, move) -> np.ndarray:
    """A mouth corner, with its neighbours following."""
    left = side == "left"
    near = (53, 55, 63, 65) if left else (49, 59, 61, 67)
    far = (52, 56) if left else (50, 58)
    inner = 64 if left else 60
    move = np.array(move)
    field = _at(dict.fromkeys(near, move * 0.55) | dict.fromkeys(far, move * 0.25))
    field[[_CORNERS[side], inner]] = move
    return field


def _smile(side, sign) -> np.ndarray:
    field = _corner(side, [sign * 7.0, 5.5, -3.5])
    field[_cheek_index(side)] = [sign * 2.0, 3.0, 3.5]
    lower_lid = (46, 47) if side == "left" else (40, 41)
    field[list(lower_lid)] = [0, 1.2, 0.3]
    return field


def _blink(marks, side) -> np.ndarray:
    """Upper lids meet the lower ones."""
    pairs = {43: 47, 44: 46} if side == "left" else {37: 41, 38: 40}
    moves = {}
    for upper, lower in pairs.items():
        gap = marks[lower] - marks[upper]
        moves[upper] = [0.0, 0.85 * gap[1], 0.85 * gap[2] + 1.0]
        moves[lower] = [0.0, -0.1 * gap[1], 0.0]
    return _at(moves)


def _brow(side, move) -> np.ndarray:
    indices = range(22, 27) if side == "left" else range(17, 22)
    return _at(dict.fromkeys(indices, move))


def _mouth(move) -> np.ndarray:
    return _at(dict.fromkeys(range(48, 68), move))


def _pucker(marks) -> np.ndarray:
    """The mouth narrows to its middle and comes forward."""
    field = np.zeros((70, 3))
    middle = marks[48:68].mean(axis=0)
    field[48:68] = (middle - marks[48:68]) * [0.35, -0.05, 0]
    field[48:68, 2] = 5.0
    return field


def _cheek(marks, jaw, mouth, eye):
    return (marks[jaw] + marks[mouth] + marks[eye]) / 3


def _cheek_index(side):
    return 69 if side == "left" else 68
