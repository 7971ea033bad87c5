# SPDX-License-Identifier: Apache-2.0
"""The command as a user gives it: no TensorFlow, one line an error, resumable."""

import json
import os
import subprocess
import sys
import zipfile
from functools import partial

import pytest

from i2z_jax.commands import main
from i2z_jax.data import tfds_builder
from i2z_jax.data.build_options import BuildOptions
from i2z_jax.data.finish import work_folder
from tests.command_line import refusal
from tests.data.captures import write_capture
from tests.data.clips import gradient, write_clip
from tests.data.landmark_folders import write_layout


def i2z(*arguments, temporary):
    program = (
        "import sys\n"
        "from i2z_jax.commands import main\n"
        "if __name__ == '__main__':\n"
        "    try: main(sys.argv[1:])\n"
        "    finally: assert 'tensorflow' not in sys.modules, 'tensorflow imported'\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_build_and_read_without_tensorflow_or_litter(tmp_path, rng):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = partial(i2z, temporary=temporary)
    source = write_layout(tmp_path / "300W", rng)
    done = run("data", "build", "ibug_300w", "--source", source, "--out", tmp_path,
               "--workers", 2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "train 6, common 4, challenging 2, private 4" in done.stdout
    assert "published 3148" in done.stdout
    again = run("data", "build", "ibug_300w", "--source", source, "--out", tmp_path)
    assert again.returncode == 1
    assert "already built" in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1
    sheet = tmp_path / "sheet.png"
    checked = run("data", "check", tmp_path / "ibug_300w", "--picture", sheet,
                  "--json", tmp_path / "found.json")  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["facts"]["ibug_300w/train"] == 6
    assert sheet.stat().st_size > 1000
    assert list(temporary.iterdir()) == []


def test_a_second_build_waits_for_the_first(tmp_path, rng, capsys):
    source = write_layout(tmp_path / "300W", rng)
    words = ["data", "build", "ibug_300w", "--source", str(source), "--out"]
    command = [*words, str(tmp_path), "--overwrite"]
    with work_folder(tmp_path, "ibug_300w", BuildOptions()) as work:
        mine = work / "shard"
        mine.touch()
        (work / "ibug_300w").mkdir()
        with pytest.raises(SystemExit):
            main(command)
        assert "another build is running here" in capsys.readouterr().err
        assert mine.exists()
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0


def test_a_capture_of_which_nothing_is_held_out_says_so(tmp_path, capsys):
    source = write_capture(tmp_path / "capture")
    command = ["data", "build", "multiview_capture", "--source", str(source)]
    command += ["--texture-size", "32", "--max-frames", "3"]
    for out, more, says in (
        ("a", ["--segments", "E001*", "--test-segments", "E001*"], False),
        ("b", ["--segments", "E001*"], True),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*command, *more, "--out", str(tmp_path / out)])
        assert ended.value.code == 0
        said = "nothing is held out: no segment is EXP_ROM* or EXP_free_face*"
        assert (said in " ".join(capsys.readouterr().err.split())) == says


def test_bad_sources_are_one_line_each(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../escaped.png", b"x")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    faceless = write_clip(tmp_path / "wall.mp4", [gradient()] * 3)
    for name, source, reason in (
        ("monocular_video", "evil.zip", "an archive"),
        ("monocular_video", "empty.mp4", "empty file"),
        ("monocular_video", "a", "no video here"),
        ("monocular_video", faceless.name, "a tenth of the picture"),
        ("ibug_300w", "a", "not a 300-W folder"),
        ("multiview_capture", "a", "not a finished capture"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main(["data", "build", name, "--source", str(tmp_path / source),
                  "--out", str(tmp_path / "out"), "--workers", "1"])  # fmt: skip
        assert exit_.value.code == 1, (name, source)
        said = capsys.readouterr().err.strip().splitlines()
        assert reason in said[-1]
        assert not any("Traceback" in line for line in said)
    assert not (tmp_path.parent / "escaped.png").exists()
    assert not (tmp_path / "out" / "monocular_video").exists()


def test_a_source_twice_is_refused(tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4", [gradient()] * 3)
    (tmp_path / "same.mp4").symlink_to(clip)
    command = ["data", "build", "monocular_video", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--source", str(clip), "--source", str(tmp_path / "same.mp4")])
    assert exit_.value.code == 1
    assert "the same --source twice" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["capture", "capture/built"])
def test_a_dataset_is_not_put_into_its_source(tmp_path, capsys, out):
    source = write_capture(tmp_path / "capture")
    build = "data", "build", "multiview_capture", "--source", source
    said = refusal(capsys, *build, "--out", tmp_path / out)
    assert "the source (expected another folder for the dataset)" in said
    assert not (tmp_path / out / "multiview_capture").exists()


@pytest.mark.parametrize("name", ["multiview_capture", "ibug_300w", "monocular_video"])
def test_builders_load_from_the_checkout(name):
    builder = tfds_builder.builder_class(name)
    assert builder.name == name
    assert builder.get_metadata().description.strip()
    assert builder.get_metadata().tags
