"""What a cluster is made of: Java, Flink's own jars, and Beam's job server, fetched once and kept in a cache.

Flink comes from PyPI, where its jars are published whole; the job server from Beam's own download, or else from Maven
by `pom.xml`, which holds the versions of both.
"""

from __future__ import annotations

import functools
import logging
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree

from runners.clusters import RemoteError

POM = pathlib.Path(__file__).with_name("pom.xml")
OLDEST_JAVA, NEWEST_JAVA = 11, 21
# a firewall that drops packets in silence must not hold up the start for minutes
DOWNLOAD_S = 20.0

log = logging.getLogger(__name__)


class FlinkError(RemoteError):
    """Something that Flink needs is not there; the message says what to do."""


@functools.cache
def version(name: str) -> str:
    """A version out of pom.xml: `flink.release`, `flink` or `runner`."""
    found = xml.etree.ElementTree.parse(POM).find(
        f"./m:properties/m:{name}", {"m": "http://maven.apache.org/POM/4.0.0"}
    )
    assert found is not None and found.text
    return found.text


def cache() -> pathlib.Path:
    """Where what was fetched is kept.

    Raises:
        FlinkError: nobody knows of a place.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - raises nothing
    if base.startswith("~"):
        raise FlinkError("there is no home folder to keep Flink in: set XDG_CACHE_HOME to a folder for it")
    return pathlib.Path(base, "beam_pipeline", "flink")


@functools.cache
def java() -> str:
    """The Java to use.

    Raises:
        FlinkError: there is none, or one that Flink does not run on.
    """
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin" if home else None)
    wanted = f"Flink {version('flink.release')} needs Java {OLDEST_JAVA} to {NEWEST_JAVA}"
    if not program:
        where = f"JAVA_HOME ({home})" if home else "PATH"
        raise FlinkError(f"no Java on {where}: {wanted}; install one, such as Debian's openjdk-17-jre-headless")
    stderr = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', stderr)
    if not found or not OLDEST_JAVA <= int(found[1]) <= NEWEST_JAVA:
        raise FlinkError(
            f"{program} is {stderr.splitlines()[0] if stderr else 'no Java'}: {wanted}; set JAVA_HOME to one"
        )
    return program


def flink_home() -> pathlib.Path:
    """The folder of Flink's jars: lib/, plugins/ and bin/bash-java-utils.jar.

    Raises:
        FlinkError: they cannot be had.
    """
    release = version("flink.release")
    home = cache() / f"flink-{release}"
    if not home.is_dir():
        log.info("fetching Flink %s (230 MB, once)", release)
        with tempfile.TemporaryDirectory(dir=_made(cache())) as folder:
            _pip_download(f"apache-flink-libraries=={release}", folder)
            (archive,) = pathlib.Path(folder).glob("*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(folder, filter="data")
            (unpacked,) = pathlib.Path(folder).glob("*/deps")
            _put(unpacked, home)
    return home


def _pip_download(requirement: str, folder: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    done = subprocess.run([*command, "--dest", folder, requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FlinkError(f"Flink cannot be fetched: pip download {requirement} failed: {_last_line(done.stderr)}")


def job_server() -> pathlib.Path:
    """The job server's jar, which speaks Beam's protocol to the submitting side and Flink's to a cluster.

    Raises:
        FlinkError: it can be neither fetched nor built.
    """
    for jar in (cache() / _named(version("runner")), cache() / _named(_beam())):
        if jar.exists():
            return jar
    return _downloaded() or _built()


def _downloaded() -> pathlib.Path | None:
    """The jar that Beam publishes for this very version of itself, if it can be reached."""
    from apache_beam.utils.subprocess_server import JavaJarServer

    url = JavaJarServer.path_to_beam_jar(f":runners:flink:{version('flink')}:job-server:shadowJar")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_S)
    try:
        with tempfile.TemporaryDirectory(dir=_made(cache())) as folder:
            return _put(pathlib.Path(JavaJarServer.local_jar(url, folder)), cache() / _named(_beam()))
    except (OSError, RuntimeError) as error:
        log.info("Beam's own job server cannot be fetched (%s)", error)
        return None
    finally:
        socket.setdefaulttimeout(before)


def _built() -> pathlib.Path:
    maven = shutil.which("mvn")
    if not maven:
        raise FlinkError(
            "no job server: Beam's own cannot be fetched, and there is no Maven to build one. Install Maven, or "
            f"fetch beam-runners-flink-{version('flink')}-job-server and give it as --flink_job_server_jar"
        )
    log.info("building the job server with Maven (about 3 minutes, once)")
    with tempfile.TemporaryDirectory(dir=_made(cache())) as folder:
        command = [maven, "--quiet", "--batch-mode", "--file", str(POM), f"-Dtarget={folder}", "package"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FlinkError(f"Maven cannot build the job server: {_last_line(done.stdout + done.stderr)}")
        return _put(pathlib.Path(folder, "flink-job-server-1.jar"), cache() / _named(version("runner")))


def _put(made: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """Move it to its place in one step: of two that fetch at once, either's will do."""
    try:
        made.rename(target)
    except OSError:
        if not target.exists():
            raise
    return target


def _named(runner: str) -> str:
    return f"job-server-{version('flink')}-{runner}.jar"


def _beam() -> str:
    from apache_beam.version import __version__

    return str(__version__)


def _made(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
