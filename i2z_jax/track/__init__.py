# SPDX-License-Identifier: Apache-2.0
"""A real video -> z, H and landmarks of every frame (`i2z track`).

    scan     decode, detect: one steady box a frame (`data.video_analysis`)
    follow   landmarks in those boxes: the crops that training would have cut
    predict  crops -> z, H, landmarks; in batches, chunk by chunk onto the disk
    result   smoothed or bridged on request; `track.npz`

Nothing here draws: `report` makes overlay, mesh and page from the result.
"""
