"""A run that was pushed to a remote comes back in another clone with no stage run: a folder, SSH, S3."""

import asyncio
import hashlib
import importlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.checkout import TRACKS, Checkout

MakeCheckout = Callable[[], Checkout]
Options = dict[str, str]
HOST, BUCKET, USER, SECRET = "127.0.0.1", "runs", "somebody", "a-secret"


@contextmanager
def of_a_folder(folder: Path) -> Iterator[tuple[str, Options]]:
    yield str(folder / "storage"), {}


@contextmanager
def of_ssh(folder: Path) -> Iterator[tuple[str, Options]]:
    """An SSH server on this machine, whose files are those of this machine."""
    asyncssh = importlib.import_module("asyncssh")

    class Server(asyncssh.SSHServer):  # type: ignore[misc, name-defined]
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, SECRET)

    loop, keys = asyncio.new_event_loop(), [asyncssh.generate_private_key("ssh-ed25519")]
    listening = asyncssh.listen(HOST, 0, server_factory=Server, server_host_keys=keys, sftp_factory=True)
    server = loop.run_until_complete(listening)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"ssh://{USER}@{HOST}:{server.get_port()}{folder}/storage", {"password": SECRET}
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


@contextmanager
def of_s3(folder: Path) -> Iterator[tuple[str, Options]]:
    """An S3 server on this machine, of moto, with one bucket."""
    server = importlib.import_module("moto.server").ThreadedMotoServer(HOST, 0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": USER, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        importlib.import_module("boto3").client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=BUCKET)
        options = {"endpointurl": endpoint, "access_key_id": USER, "secret_access_key": SECRET, "region": "us-east-1"}
        yield f"s3://{BUCKET}/lid", options
    finally:
        server.stop()


REMOTES: dict[str, tuple[Any, tuple[str, ...]]] = {  # what makes one, and the packages that it takes
    "folder": (of_a_folder, ()),
    "ssh": (of_ssh, ("dvc_ssh", "asyncssh")),
    "s3": (of_s3, ("dvc_s3", "boto3", "moto", "flask", "flask_cors")),
}


@pytest.fixture(params=REMOTES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Options]]:
    """The address of a remote, and its options."""
    make, packages = REMOTES[request.param]
    for package in packages:
        pytest.importorskip(package, reason=f"needs {package}: pip install '.[remotes,test]'")
    with make(tmp_path) as made:
        yield made


def clone(make_checkout: MakeCheckout, storage: tuple[str, Options]) -> Checkout:
    checkout = make_checkout()
    add(checkout, storage)
    return checkout


def add(checkout: Checkout, storage: tuple[str, Options]) -> None:
    """Name the remote as the page does: its address in a file of the repository, keys and passwords beside it."""
    address, options = storage
    checkout.file(".dvc/config.local").unlink(missing_ok=True)  # options of the remote of another test
    checkout.run("dvc", "remote", "add", "--quiet", "--force", "--default", "storage", address)
    for name, value in options.items():
        checkout.run("dvc", "remote", "modify", "--quiet", "--local", "storage", name, value)


def zips(checkout: Checkout) -> dict[str, str]:
    paths = {track: checkout.file(f"submissions/{track}.zip") for track in TRACKS}
    return {track: hashlib.sha256(path.read_bytes()).hexdigest() for track, path in paths.items()}


@pytest.mark.slow
def test_another_clone_has_both_zips_and_runs_no_stage(
    finished: Checkout, make_checkout: MakeCheckout, storage: tuple[str, Options]
) -> None:
    add(finished, storage)
    finished.run("dvc", "push", "--quiet", "--run-cache")
    with_lock, without = (clone(make_checkout, storage) for _ in range(2))
    shutil.copy(finished.file("dvc.lock"), with_lock.file("dvc.lock"))  # as git brings it
    with_lock.run("dvc", "pull", "--quiet", "--run-cache")
    assert zips(with_lock) == zips(finished)
    assert with_lock.repro() == set()
    assert with_lock.file("dvc.lock").read_bytes() == finished.file("dvc.lock").read_bytes()
    # the run cache alone knows what made what: nothing but code and params came with the clone
    assert without.repro("--pull") == set()
    assert zips(without) == zips(finished)
    assert not with_lock.file("data/raw/demo").exists()
    assert not without.file("data/raw/demo").exists()


@pytest.mark.slow
def test_other_settings_that_were_pushed_run_no_stage_either(
    finished: Checkout, make_checkout: MakeCheckout, tmp_path: Path
) -> None:
    """A push sends the outputs of the settings that are set, so that each settings need one of their own."""
    with of_a_folder(tmp_path) as storage:
        add(finished, storage)
        for width, runs in ((64, {"report@track3"}), (96, set())):
            finished.set("track3.report.width", width)
            assert finished.repro() <= runs
            finished.run("dvc", "push", "--quiet", "--run-cache")
        other = clone(make_checkout, storage)
    shutil.copy(finished.file("dvc.lock"), other.file("dvc.lock"))
    other.run("dvc", "pull", "--quiet", "--run-cache")
    other.set("track3.report.width", 64)
    assert other.repro("--pull") == set()
