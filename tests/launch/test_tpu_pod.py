# SPDX-License-Identifier: Apache-2.0
"""What `launch/tpu_pod.sh` runs on a host of the pod; gcloud is a stand-in."""

import subprocess

import pytest

from tests.launch.programs import CHECKOUT, environment, program

# Notes what it is asked, and runs the command as a login that knows no other folders.
GCLOUD = """
for word; do
    case $word in
        --command=*) env -i HOME="$HOME" PATH=/usr/bin:/bin bash -c "${word#*=}" ;;
        *) echo "$word" >> gcloud ;;
    esac
done
"""
I2Z = 'printf "<%s>" "$@"'


@pytest.fixture
def pod(tmp_path):
    program(tmp_path, "gcloud", GCLOUD)

    def run(*words: str, **variables: str):
        return subprocess.run(
            ["bash", CHECKOUT / "launch/tpu_pod.sh", *words],
            env=environment(tmp_path) | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_a_host_gets_the_command_as_it_was_typed(pod, tmp_path):
    i2z = str(program(tmp_path, "our i2z", I2Z))
    words = ("train", "regress", "--workdir", "/mnt/share/run 1", "--data=$HOME;")
    shown = pod("pod", "zone-b", *words, I2Z=i2z).stdout
    assert shown == "".join(f"<{word}>" for word in ("--distributed", *words))
    asked = (tmp_path / "gcloud").read_text().split()
    assert asked[-4:] == ["ssh", "pod", "--zone=zone-b", "--worker=all"]


def test_hosts_share_compiled_programs(pod, tmp_path):
    i2z = str(program(tmp_path, "i2z", 'printf %s "$JAX_COMPILATION_CACHE_DIR"'))
    folder = {"JAX_COMPILATION_CACHE_DIR": "/mnt/other disk"}
    assert pod("pod", "zone-b", "doctor", I2Z=i2z).stdout == "/mnt/share/jax_cache"
    assert (
        pod("pod", "zone-b", "doctor", I2Z=i2z, **folder).stdout == folder.popitem()[1]
    )


def test_the_package_is_where_the_page_installs_it(pod):
    done = pod("pod", "zone-b", "doctor")
    assert done.returncode == 127
    assert "/mnt/share/i2z/bin/i2z" in done.stderr
    assert "No such file" in done.stderr
    page = (CHECKOUT / "docs/scale.md").read_text()
    assert "--python 3.12 /mnt/share/i2z\n" in page


def test_too_few_words_are_refused(pod):
    done = pod("pod", "zone-b")
    assert done.returncode == 2
    assert "usage:" in done.stderr
