# SPDX-License-Identifier: Apache-2.0
"""One steady face box a frame, from the detections of a video.

The track forgives misses and outliers of a second or so. The chain of detections with
the most size and certainty is the largest face; taking its detections away and looking
again gives the second one, and so on. A face that was away for longer than the track
bridges is looked for again in the frames left open.
"""

import itertools

import numpy as np

from i2z_jax.types import Bool, Float, Int, NDArray

# A step of the face between frames that the track believes, in box sides.
BELIEVED_STEP = 0.5
# Half-width of the smoothing in frames, for the place and for the size of the box.
SMOOTH_CENTRE, SMOOTH_SIDE = 2.0, 8.0
# A face not seen for longer than this (frames) is not followed across.
LONGEST_MISS = 45
# A face that comes back is believed when it is seen this often.
RETURN_SEEN = 5
# The detections of a frame without a face.
NO_BOX = np.zeros((0, 5))


def choose(
    detections: list[Float[NDArray, "_ 5"]], starts: Bool[NDArray, "f"], face: int = 1
) -> tuple[Float[NDArray, "f 4"], Bool[NDArray, "f"]]:
    """The box track of the face of a rank, from the detections of all faces.

    Returns:
        boxes, NaN where there is none, and where a detection stands behind the box.
    """
    left = detections
    for _ in range(face - 1):
        boxes, found = _with_returns(left, starts)
        left = [
            _without_nearest(seen, box) if was_found else seen
            for seen, box, was_found in zip(left, boxes, found, strict=True)
        ]
    return _with_returns(left, starts)


def _with_returns(
    detections: list[Float[NDArray, "_ 5"]], starts: Bool[NDArray, "f"]
) -> tuple[Float[NDArray, "f 4"], Bool[NDArray, "f"]]:
    """`track`, again and again in the frames that it leaves open."""
    boxes, found = track(detections, starts)
    first = sure = _between_found(found, starts)
    while True:
        rest = [
            NO_BOX if is_sure else seen
            for seen, is_sure in zip(detections, sure, strict=True)
        ]
        edges = starts.copy()
        edges[1:] |= sure[1:] != sure[:-1]
        more, more_found = track(rest, edges)
        more_sure = _between_found(more_found, edges, RETURN_SEEN) & ~sure
        if not more_sure.any():
            break
        boxes[more_sure] = more[more_sure]
        found |= more_sure & more_found
        sure = sure | more_sure
    # Without a return, what `track` bridged and smoothed is left as it is.
    return boxes if sure is first else _bridged(boxes, sure, starts), found


def _between_found(
    found: Bool[NDArray, "f"], starts: Bool[NDArray, "f"], least: int = 1
) -> Bool[NDArray, "f"]:
    """Frames of each stretch from the first to the last one with a detection, where
    there are at least so many."""
    sure = np.zeros(len(found), bool)
    for a, b in stretches(starts):
        seen = a + np.flatnonzero(found[a:b])
        if len(seen) >= least:
            sure[seen[0] : seen[-1] + 1] = True
    return sure


def _bridged(
    boxes: Float[NDArray, "f 4"], sure: Bool[NDArray, "f"], starts: Bool[NDArray, "f"]
) -> Float[NDArray, "f 4"]:
    """Short gaps between sure frames in a straight line, short ends held; else NaN."""
    result = np.full_like(boxes, np.nan)
    for a, b in stretches(starts):
        rows, known = np.arange(a, b), a + np.flatnonzero(sure[a:b])
        if not len(known):
            continue
        after = np.searchsorted(known, rows)
        before = np.where(after > 0, known[np.maximum(after - 1, 0)], a - 1)
        following = np.append(known, b)[after]
        near = sure[a:b] | (following - before - 1 <= LONGEST_MISS)
        lines = [np.interp(rows, known, column[known]) for column in boxes.T]
        result[a:b] = np.where(near[:, None], np.stack(lines, axis=-1), np.nan)
    return result


def _without_nearest(
    seen: Float[NDArray, "k 5"], box: Float[NDArray, "4"]
) -> Float[NDArray, "_ 5"]:
    if len(seen) == 0:
        return seen
    middle = (seen[:, :2] + seen[:, 2:4] - box[:2] - box[2:]) / 2
    return np.delete(seen, np.argmin(np.abs(middle).max(axis=1)), axis=0)


def track(
    detections: list[Float[NDArray, "_ 5"]], starts: Bool[NDArray, "n"]
) -> tuple[Float[NDArray, "n 4"], Bool[NDArray, "n"]]:
    """One steady square box a frame from all the detections of a video.

    Within a shot the chain of detections with the highest sum of weights is followed
    (a jump breaks a chain); misses are bridged, and centre and side are smoothed over
    time, so that crops do not tremble.

    Args:
        detections: of each frame, as `FaceDetector` gives them.
        starts: frames that do not continue the one before (cuts, gaps).

    Returns:
        boxes, NaN where no face could be followed; and where a detection of that very
        frame stands behind the box.
    """
    boxes = np.full((len(detections), 4), np.nan)
    found = np.zeros(len(detections), bool)
    for first, last in stretches(starts):
        chain = _best_chain(detections[first:last])
        if not chain:
            continue
        times = np.array([frame for frame, _ in chain])
        seen = np.array([box for _, box in chain])
        found[first + times] = True
        boxes[first:last] = bridge(times, seen, last - first)
    return boxes, found


def stretches(starts: Bool[NDArray, "n"]) -> list[tuple[int, int]]:
    """First frame and end of each shot; frame 0 starts one whatever is said of it."""
    edges = [0, *(np.flatnonzero(starts[1:]) + 1).tolist(), len(starts)]
    return list(itertools.pairwise(edges))


def bridge(
    times: Int[NDArray, "m"], seen: Float[NDArray, "m 4"], frames: int
) -> Float[NDArray, "{frames} 4"]:
    """Smoothed boxes of all frames of a shot, from those seen in some.

    Args:
        times: frames with a box, ascending; at least one.
        seen: the boxes, px.
        frames: length of the shot.

    Returns:
        NaN within misses longer than `LONGEST_MISS` frames.
    """
    boxes = np.full((frames, 4), np.nan)
    breaks = np.flatnonzero(np.diff(times) > LONGEST_MISS) + 1
    for run in np.split(np.arange(len(times)), breaks):
        a, b = times[run[0]], times[run[-1]] + 1
        # A short miss at an end of the shot keeps the last box that was seen.
        a = 0 if a <= LONGEST_MISS else a
        b = frames if frames - b <= LONGEST_MISS else b
        boxes[a:b] = smooth(times[run], seen[run], np.arange(a, b))
    return boxes


def smooth(
    times: NDArray, boxes: Float[NDArray, "m 4"], at: NDArray
) -> Float[NDArray, "k 4"]:
    """Square boxes at the frames `at`, from boxes seen at `times`."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = np.log((boxes[:, 2:] - boxes[:, :2]).max(axis=1))
    columns = [
        _gaussian(np.interp(at, times, _median(values)), width)
        for values, width in (
            (centre[:, 0], SMOOTH_CENTRE),
            (centre[:, 1], SMOOTH_CENTRE),
            (side, SMOOTH_SIDE),
        )
    ]
    x, y, half = columns[0], columns[1], np.exp(columns[2]) / 2
    return np.stack([x - half, y - half, x + half, y + half], axis=1)


def _best_chain(
    detections: list[Float[NDArray, "_ 5"]],
) -> list[tuple[int, Float[NDArray, "4"]]]:
    """The chain of detections with the largest sum of weights, by extending the
    nearest of the chains that are alive."""
    chains: list[tuple[float, list[tuple[int, np.ndarray]]]] = []
    alive: list[int] = []  # few, of all that a long video ever started
    for frame, boxes in enumerate(detections):
        alive = [i for i in alive if frame - chains[i][1][-1][0] <= LONGEST_MISS]
        for box in boxes:
            # A large face counts more than a small one with the same score.
            weight = max(box[4], 0.1) * (box[2] - box[0])
            reach = [i for i in alive if chains[i][1][-1][0] < frame]
            ends = np.array([chains[i][1][-1][1] for i in reach]).reshape(-1, 4)
            steps = box_step(ends, box[:4])
            if steps.min(initial=np.inf) <= BELIEVED_STEP:
                nearest = reach[int(steps.argmin())]
                total, chain = chains[nearest]
                chain.append((frame, box[:4]))
                chains[nearest] = (total + weight, chain)
            else:
                alive.append(len(chains))
                chains.append((weight, [(frame, box[:4])]))
    return max(chains, key=lambda c: c[0], default=(0.0, []))[1]


def box_step(
    old: Float[NDArray, "*b 4"], new: Float[NDArray, "4"]
) -> Float[NDArray, "*b"]:
    """How far a box is from others in place and in size, in sides of those; infinitely,
    if it is none."""
    if not np.isfinite(new).all() or new[2] <= new[0]:
        return np.full(old.shape[:-1], np.inf)
    side = old[..., 2] - old[..., 0]
    apart = np.abs((old[..., :2] + old[..., 2:]) - (new[:2] + new[2:])).max(axis=-1)
    growth = np.abs(np.log((new[2] - new[0]) / side))
    return np.asarray(np.maximum(apart / (2 * side), growth))


def _median(values: Float[NDArray, "m"]) -> Float[NDArray, "m"]:
    padded = np.pad(values, 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)


def _gaussian(values: Float[NDArray, "m"], width: float) -> Float[NDArray, "m"]:
    radius = int(3 * width)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
    padded = np.pad(values, radius, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
