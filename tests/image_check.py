"""Builds an image's steps in a Debian root and uses it, without Docker: `python -m tests.image_check`.

The Dockerfile is read, not repeated: RUN goes through chroot, and ENV, ARG, WORKDIR, USER and COPY count as a
builder counts them. Stand-ins are Debian's Python for that of the image that FROM names, the `boot` that Go builds of
Beam's source for Beam's image, and a hub on loopback that has the demo model for Hugging Face's. Needs root,
debootstrap, Go, a network for packages, and about 12 GB of disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import jiwer

from runners.flink import parts
from tests import dockerfile
from tests.conftest import ROOT, SAMPLES, TRUTH
from tests.hub import MODEL, hub

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PIP = "pip==24.0 setuptools==79.0.1 wheel==0.45.1"  # what Docker's images of Python 3.11 have
HANGS_S = 1800
WORD_ERROR = 0.2  # of the demo model, at most
CERTIFICATES = "/etc/check-certificates.crt"  # where no package puts another
SLIM = "".join(f"path-exclude /usr/share/{each}/*\n" for each in ("doc", "info", "man", "locale"))
# In a namespace of its own, so that nothing stays mounted and no process stays, however this ends.
ENTER = """
root=$1 user=$2 folder=$3; shift 3
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
ip link set lo up
hostname container
exec chroot --userspec="$user" "$root" env --chdir="$folder" "$@"
"""
LISTENS = """
until python -c 'from runners.flink.rest import listens; raise SystemExit(not listens("localhost:50000"))'; do
  kill -0 $pool && sleep 0.2
done
"""
POOL = f"""
python -m runners.flink.workers --port 50000 & pool=$!
{LISTENS}
kill -TERM $pool
wait $pool
"""
# With Beam's job service in this process, and a worker that boot starts, as on Dataflow, and on Flink with Docker.
BOOTED = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL",
          "--environment_config=localhost:50000")  # fmt: skip
BOOT = f"""
/opt/apache/beam/boot --worker_pool & pool=$!
{LISTENS}
exec "$@"
"""


class Image:
    """A root folder, and what the image's steps have set so far."""

    def __init__(self, root: pathlib.Path, arguments: dict[str, str]) -> None:
        self.root, self.given = root, arguments
        self.arguments: dict[str, str] = {}
        self.environment = {"PATH": PATH, "LANG": "C.UTF-8"}
        self.user, self.folder = "0:0", "/"
        self.entrypoint: list[str] = []

    def run(self, *command: str, online: bool = False, user: str = "", **more: str) -> None:
        """Run it as the image's user, without a network unless told otherwise; SystemExit where it fails."""
        who = user or self.user
        alone = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", *([] if online else ["--net"])]
        words = [*alone, "sh", "-ec", ENTER, "sh", str(self.root), who, self.folder, *command]
        began = time.monotonic()
        done = subprocess.run(words, env={"HOME": self.home(who), **self.environment, **more}, timeout=HANGS_S)
        print(f"   {time.monotonic() - began:.0f} s, exit code {done.returncode}", flush=True)
        if done.returncode:
            raise SystemExit(f"failed as {who}: {shlex.join(command)}")

    def home(self, user: str) -> str:
        """As Docker sets it: what /etc/passwd of the image says of the number, or else /."""
        entries = (line.split(":") for line in self.at("/etc/passwd").read_text().splitlines())
        return {entry[2]: entry[5] for entry in entries}.get(user.partition(":")[0], "/")

    def take(self, step: dockerfile.Step) -> None:
        """Do one instruction of the Dockerfile."""
        say(f"{step.instruction} {' '.join(step.value.split())}")
        values = self.arguments | self.environment
        text = dockerfile.filled(step.value, values) if step.instruction != "RUN" else step.value
        match step.instruction:
            case "FROM":
                self.arguments = {}  # each stage has its own
            case "ARG":
                name = text.partition("=")[0]
                known = dockerfile.pairs(text) | {each: self.given[each] for each in [name] if each in self.given}
                self.arguments |= known
            case "ENV":
                self.environment |= dockerfile.pairs(text)
            case "WORKDIR":
                self.folder = text
                self.at(text).mkdir(parents=True, exist_ok=True)
            case "USER":
                self.user = f"{text}:{text}"
            case "COPY":
                self.copy(shlex.split(text))
            case "RUN":
                self.run("/bin/sh", "-c", text, online=True, **pip_settings(), **self.arguments)
            case "ENTRYPOINT":
                self.entrypoint = json.loads(text)
            case "LABEL":
                pass
            case other:
                raise SystemExit(f"{other} is not known here")

    def at(self, path: str) -> pathlib.Path:
        """Where a path of the image lies on this machine."""
        return self.root / pathlib.PurePosixPath(self.folder, path).relative_to("/")

    def copy(self, words: list[str]) -> None:
        """Copy out of the checkout, or the stand-in for what lies in another image."""
        target = self.at(words[-1])
        if words[0].startswith("--from="):
            stand_in(words[0].removeprefix("--from="), target)
            return
        allowed = dockerfile.context()
        for source in words[:-1]:
            for path in sorted(each for each in allowed if each == source or each.startswith(f"{source}/")):
                inner = pathlib.PurePath(path).relative_to(source) if (ROOT / source).is_dir() else path
                if (ROOT / path).is_file():
                    (target / inner).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(ROOT / path, target / inner)


def say(text: str) -> None:
    print(f"── {text}", flush=True)


def pip_settings() -> dict[str, str]:
    """How pip is told of its index and certificates here."""
    told = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and name != "PIP_FIND_LINKS"}
    return told | {"PIP_CERT": CERTIFICATES, "HF_ENDPOINT": os.environ["HF_ENDPOINT"]}


def stand_in(stage: str, target: pathlib.Path) -> None:
    """Put there what the image would take from another image."""
    arguments, _ = dockerfile.read()
    target.parent.mkdir(parents=True, exist_ok=True)
    if stage == "beam":
        boot = f"github.com/apache/beam/sdks/v2/python/container@v{arguments['BEAM']}"
        with tempfile.TemporaryDirectory() as folder:
            told = {"GOBIN": folder, "CGO_ENABLED": "0"}
            subprocess.run(["go", "install", boot], check=True, env={**os.environ, **told})
            target.mkdir(parents=True)
            shutil.copy(pathlib.Path(folder, "container"), target / "boot")
    elif stage == "job-server":
        shutil.copyfile(parts.job_server(), target)
    else:
        raise SystemExit(f"nothing stands in for what {stage} has at {target}")


def make_base(image: Image, name: str) -> None:
    """A Debian with what `python:3.11-slim-bookworm` has, as far as it matters: /usr/local/bin/python and pip."""
    version, _, release = name.partition(":")[2].partition("-slim-")
    say(f"{name}: Debian {release} with its Python {version}")
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    subprocess.run([*alone, "debootstrap", "--variant=minbase", release, str(image.root)], check=True)
    (image.root / "etc/dpkg/dpkg.cfg.d/slim").write_text(SLIM)
    (image.root / "etc/hosts").write_text("127.0.0.1 localhost container\n")  # Docker's engine makes these two
    shutil.copyfile("/etc/resolv.conf", image.root / "etc/resolv.conf")
    shutil.copyfile(os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"), image.root / CERTIFICATES[1:])
    install = f"apt-get update && apt-get install --yes --no-install-recommends ca-certificates python{version}-venv"
    upgrade = f"python{version} -m venv /usr/local && pip install --quiet --upgrade {PIP}"
    image.run("sh", "-c", f"{install} && {upgrade}", online=True, **pip_settings())


def use(image: Image) -> None:
    """Do with the image what it is for, without a network."""
    media = image.root / "media"
    shutil.copytree(SAMPLES, media, dirs_exist_ok=True)
    empty_output(image)
    image.folder = "/home/beam"
    sample, baked = "letter.flac", ("--model", MODEL, "--max_window_s", "8")
    flags = ("--input", f"/media/{sample}", "--output", "/out", "--model", "demo")
    command = ("python", "-m", "beam_pipeline", *flags)
    ways = [
        ("on the DirectRunner", "", command),
        ("as another user, of whom the image knows nothing", "12345:12345", command),
        ("with the weights that were baked in", "", (*command, *baked)),
        ("by a worker that boot starts", "", ("sh", "-euc", BOOT, "sh", *command, *BOOTED)),
    ]
    if image.entrypoint[0] == "python":
        ways.append(("by its entrypoint", "", (*image.entrypoint, *flags)))
    for title, user, words in ways:
        say(f"a sample {title}")
        image.run(*words, user=user)
        text = (image.root / "out/media/letter.txt").read_text()
        print(text, end="")
        assert jiwer.wer(spoken(sample), " ".join(text.split())) < WORD_ERROR, f"that is not what is said in {sample}"
        empty_output(image)
    say("the pool of workers, until it listens and is told to stop")
    image.run("sh", "-euc", POOL)


def empty_output(image: Image) -> None:
    """A folder that every user may write to, as a mounted one."""
    shutil.rmtree(image.root / "out", ignore_errors=True)
    (image.root / "out").mkdir()
    (image.root / "out").chmod(0o777)


def spoken(sample: str) -> str:
    return " ".join(each["text"] for each in TRUTH[sample]["utterances"])


@contextlib.contextmanager
def root_folder(keep: bool) -> Iterator[pathlib.Path]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="image-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def main() -> int:
    words = argparse.ArgumentParser(prog="script/image-check", description=(__doc__ or "").splitlines()[0])
    words.add_argument("--target", default="cpu", help="of the Dockerfile")
    words.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as for docker build")
    words.add_argument("--keep", action="store_true", help="leave the root folder behind")
    given = words.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the folder goes
    arguments, _ = dockerfile.read()
    arguments |= {"MODEL": MODEL} | dict(each.split("=", 1) for each in given.build_arg)
    base, steps = dockerfile.lineage(given.target)
    with root_folder(given.keep) as root, hub() as address:
        os.environ["HF_ENDPOINT"] = address
        image = Image(root, arguments)
        make_base(image, base)
        for step in steps:
            image.take(step)
        use(image)
        used = subprocess.run(["du", "-sh", str(root)], capture_output=True, text=True, check=True).stdout.split()[0]
        say(f"all of it works; {used}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
