# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the machine refuses is one line with a remedy, whatever part of it refuses."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path
from typing import Any

import pytest

from harness import snapshots
from mapxdp import cli, host, record
from mapxdp.commands import top as top_command
from mapxdp.contract import MapSpec
from mapxdp.datapath import bpffs, libbpf
from mapxdp.errors import HostError, MapxdpError
from mapxdp.links import LinkError, open_links
from mapxdp.software import daemon
from mapxdp.views.top import Top

ROOT_REMEDY = "root is denied this here"


@pytest.fixture(params=[0, 1000])
def user(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("os.geteuid", lambda: request.param)
    return int(request.param)


@pytest.fixture
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/run/mapxdp, and it is no directory."""
    path = tmp_path / "mapxdp"
    path.write_text("", encoding="utf-8")
    monkeypatch.setattr(record, "DIRECTORY", path)
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is printed for an error of the host: one line."""
    assert cli.main(arguments) == HostError.exit_code
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.startswith("mapxdp: ")
    assert " → " in text
    return text


def test_permission_denied(
    user: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root is not told to become root."""

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    monkeypatch.setattr(record, "names", lambda: ["home"])
    text = said(capsys, "status", "home")
    assert "/run/mapxdp/home.json cannot be read: Permission denied" in text
    assert ("sudo" in text) == (user != 0)
    assert (ROOT_REMEDY in text) == (user == 0)


def test_an_error_that_nobody_foresaw(
    user: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(code: int) -> Any:
        def names() -> list[str]:
            raise OSError(code, "it says no", "/some/where")

        return names

    monkeypatch.setattr(record, "names", failing(errno.EIO))
    assert "it says no: '/some/where' → report this, please" in said(capsys, "status")
    monkeypatch.setattr(record, "names", failing(errno.EPERM))
    assert ("sudo" in said(capsys, "status")) == (user != 0)


def test_run_cannot_be_written(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HostError, match=r"home\.json cannot be written: .* → see that"):
        snapshots.record().save()
    with pytest.raises(HostError, match=r"home\.log cannot be written"):
        daemon.start(daemon.Job("home", None, snapshots.CONFIG, 1480, None, True, ()))


def test_run_cannot_be_locked(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "home.lock cannot be locked: " in said(capsys, "down", "home")


def test_reports_and_drawings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "ce.toml"
    config.write_text(snapshots.CONFIG, encoding="utf-8")
    from scapy.utils import RawPcapWriter

    with RawPcapWriter(str(tmp_path / "in.pcap"), linktype=101) as pcap:
        pcap.write_header(None)
    nowhere = tmp_path / "nowhere" / "file"
    text = said(
        capsys,
        *("translate", "-c", str(config), "--direction=46", "--report", str(nowhere)),
        *(str(tmp_path / "in.pcap"), str(tmp_path / "out.pcap")),
    )
    assert f"the report {nowhere} cannot be written: No such file" in text
    with pytest.raises(HostError, match=f"the drawing {nowhere} cannot be written"):
        top_command.draw(Top(snapshots.busy()), nowhere)


def test_kernel_settings() -> None:
    with pytest.raises(HostError, match=r"net/ipv6/conf/none such/accept_ra cannot be read.*IPv6"):
        host.sysctl("net/ipv6/conf/none such/accept_ra")
    with pytest.raises(HostError, match=r"kernel/version cannot be set to 7"):
        host.set_sysctl("kernel/version", "7")


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.EPERM, ROOT_REMEDY), (errno.EINVAL, "update the kernel")]
)
def test_bpf(code: int, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __getattr__(self, _: str) -> Any:
            def refuse(*_: Any) -> int:
                ctypes.set_errno(code)
                return -code

            return refuse

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(libbpf, "_library", Library)
    for use in (
        lambda: libbpf.create_map(MapSpec("slots", "ARRAY", "__u32", 4, "", 32, 768, 0)),
        lambda: libbpf.pin(3, Path("/sys/fs/bpf/x")),
        lambda: libbpf.open_pinned(Path("/sys/fs/bpf/x")),
        lambda: libbpf.update(3, b"", b""),
    ):
        with pytest.raises(HostError, match=f"the kernel did not .*{remedy}"):
            use()


def test_a_pin_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def bpf_obj_get(_: bytes) -> int:
            ctypes.set_errno(errno.ENOENT)
            return -errno.ENOENT

    monkeypatch.setattr(libbpf, "_library", Library)
    path = bpffs.instance_directory("home") / "run-00000000" / "slots"
    with pytest.raises(MapxdpError, match="is not there any more → mapxdp down home, then up"):
        libbpf.open_pinned(path)


def test_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    class Refusing:
        def __enter__(self) -> Refusing:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __getattr__(self, _: str) -> Any:
            def refuse(*_: Any, **__: Any) -> Any:
                raise NetlinkError(errno.EPERM)

            return refuse

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("pyroute2.IPRoute", Refusing)
    with (
        pytest.raises(LinkError, match=f"reading interfaces.*{ROOT_REMEDY}"),
        open_links() as links,
    ):
        links.find("wan")
