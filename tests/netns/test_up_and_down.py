# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``up`` leaves a running CE, ``down`` leaves nothing, a failure half-way nothing new."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.router import CONFIG, GATEWAY, Router
from mapxdp import bpf_source, ce, cli, health, netns, record
from mapxdp.datapath import bpffs, compiler, libbpf
from mapxdp.datapath.instance import Instance
from mapxdp.errors import HostError, InvalidValue, MapxdpError, StateError
from mapxdp.links import Hook, Link, LinkError, Links, open_links
from mapxdp.record import Record

MAP_ADDRESS = "2001:db8:12:3400:0:c000:212:34"
#: Matches every IPv4 packet.
OTHER_FILTER = "protocol ip u32 match u32 0 0 classid 1:1"


def test_up_then_down(cpe: Router) -> None:
    before = cpe.state()
    said = cpe.up()

    running = cpe.state()
    assert running["hooks"] == {"INGRESS": cpe.name, "EGRESS": cpe.name}
    assert f"{MAP_ADDRESS}/128" in str(running["addresses"])
    assert f"default via inet6 {GATEWAY} dev wan" in str(running["routes"])
    assert "mtu 1480" in str(running["routes"])
    assert running["forwarding"] == "1"
    assert "set net/ipv4/ip_forward = 1 (was 0)" in said
    now = record.load(cpe.name)
    assert now is not None
    assert [entry.problem for entry in health.check(now)] == [None] * len(health.check(now))

    ce.down(cpe.name, lambda _: None)
    assert cpe.state() == before


def test_the_map_address_is_never_a_source(cpe: Router) -> None:
    """The router's own IPv6 keeps its own address."""
    cpe.ip("-6 addr add 2001:db8:77::7/64 dev wan nodad")
    cpe.up()
    assert "src 2001:db8:77::7" in cpe.ip("-6 route get 2001:db8:99::1")


def test_mtu_of_the_wan_sets_the_route(cpe: Router) -> None:
    cpe.ip("link set wan mtu 1492")
    cpe.up()
    assert "mtu 1472" in str(cpe.state()["routes"])


def test_point_to_point_wan_needs_no_gateway(cpe: Router) -> None:
    cpe.ip("tuntap add ppp0 mode tun")
    cpe.ip("link set ppp0 up")
    cpe.write_config(CONFIG.replace('wan = "wan"', 'wan = "ppp0"'))
    cpe.up()
    assert "default dev ppp0" in cpe.ip("-4 route show")


def test_gateway_of_a_multipath_route(cpe: Router) -> None:
    cpe.ip("-6 route del default")
    cpe.ip("link add other type veth peer name peer")
    cpe.ip("link set other up")
    cpe.ip("link set peer up")
    cpe.ip(
        "-6 route add default nexthop via fe80::9 dev other nexthop via fe80::7 dev wan weight 2"
    )
    cpe.up()
    assert "default via inet6 fe80::7 dev wan" in str(cpe.state()["routes"])


def test_what_was_there_stays(cpe: Router) -> None:
    """An address, a clsact qdisc and forwarding that ``up`` found are not taken away."""
    cpe.ip(f"-6 addr add {MAP_ADDRESS}/128 dev wan nodad")
    cpe._tc("qdisc add dev wan clsact")
    with netns.entered(cpe.name):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    before = cpe.state()
    cpe.up()
    ce.down(cpe.name, lambda _: None)
    assert cpe.state() == before


def test_down_after_the_interface_is_gone(cpe: Router) -> None:
    cpe.up()
    cpe.ip("link del wan")
    said: list[str] = []
    ce.down(cpe.name, said.append)
    assert "wan is gone: nothing to detach" in said
    assert record.load(cpe.name) is None


def _fail(*_: Any, **__: Any) -> None:
    raise OSError(5, "made to fail")


STEPS: dict[str, tuple[type, str]] = {
    "add the address": (Links, "add_ipv6_address"),
    "attach": (Links, "attach"),
    "set the route": (Links, "set_ipv4_default_route"),
    "pin": (Instance, "stage"),
    "save the record": (Record, "save"),
    "put it in force": (Instance, "commit"),
}
UPGRADE_STEPS = {**STEPS, "add the address": (Links, "has_ipv6_address")}


@pytest.mark.parametrize("step", STEPS)
def test_failure_half_way_is_undone(
    step: str, cpe: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cpe.state()
    owner, method = STEPS[step]
    monkeypatch.setattr(owner, method, _fail)
    with pytest.raises(OSError, match="made to fail"):
        cpe.up()
    monkeypatch.undo()
    assert cpe.state() == before
    cpe.up()


@pytest.mark.parametrize("step", UPGRADE_STEPS)
def test_failed_upgrade_leaves_what_runs(
    step: str, cpe: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpe.up()
    before, programs = cpe.state(), cpe.attached_programs()
    owner, method = UPGRADE_STEPS[step]
    original, calls = getattr(owner, method), []

    def fail_first(*arguments: Any) -> Any:
        """Only the step itself fails, not the undoing that calls it again."""
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(5, "made to fail")
        return original(*arguments)

    monkeypatch.setattr(owner, method, fail_first)
    with pytest.raises(OSError, match="made to fail"):
        cpe.up()
    monkeypatch.undo()
    assert cpe.state() == before
    assert cpe.attached_programs() == programs


def test_failure_of_the_second_attachment(cpe: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cpe.state()
    attach = Links.attach
    attached = []

    def fail_second(self: Links, *arguments: Any) -> None:
        if attached:
            raise OSError(5, "made to fail")
        attached.append(arguments)
        attach(self, *arguments)

    monkeypatch.setattr(Links, "attach", fail_second)
    with pytest.raises(OSError, match="made to fail"):
        cpe.up()
    monkeypatch.undo()
    assert cpe.state() == before


def no_interface(cpe: Router) -> None:
    cpe.ip("link del wan")


def no_gateway(cpe: Router) -> None:
    cpe.ip("-6 route del default")


def small_mtu(cpe: Router) -> None:
    cpe.ip("link set wan mtu 1279")


def larger_mtu_configured(cpe: Router) -> None:
    cpe.write_config(CONFIG + "[mtu]\nwan = 1501\n")


def ingress_qdisc(cpe: Router) -> None:
    cpe._tc("qdisc add dev wan ingress")


def other_default_route(cpe: Router) -> None:
    cpe.ip("addr add 10.9.9.2/24 dev wan")
    cpe.ip("route add default via 10.9.9.1 dev wan")


def multipath_default_route(cpe: Router) -> None:
    cpe.ip("addr add 10.9.9.2/24 dev wan")
    cpe.ip("route add default nexthop via 10.9.9.1 dev wan nexthop via 10.9.9.3 dev wan")


def filter_in_our_place(cpe: Router) -> None:
    cpe._tc("qdisc add dev wan clsact")
    cpe._tc(f"filter add dev wan egress pref 50000 {OTHER_FILTER}")


def prefix_without_rule(cpe: Router) -> None:
    cpe.write_config(CONFIG.replace("2001:db8:12:3400::/56", "2001:db9:12:3400::/56"))


def xdp_asked_for(cpe: Router) -> None:
    cpe.write_config(CONFIG.replace('mode = "map-t"', 'mode = "map-t"\ndatapath = "xdp"'))


def netfilter_in_software(cpe: Router) -> None:
    text = CONFIG.replace('mode = "map-t"', 'mode = "map-t"\ndatapath = "software"')
    cpe.write_config(text + '[napt44]\nmode = "netfilter"\n')


def too_many_rules_for_an_address(cpe: Router) -> None:
    cpe.write_config(CONFIG + "forwarding = true\n" + nested_rules())


def nested_rules() -> str:
    """Explicit PSIDs of five lengths on one address."""
    return "".join(
        f"""
[[rule]]
ipv6 = "2001:db8:40{length:02x}::/48"
ipv4 = "203.0.113.7/32"
ea_length = 0
psid_length = {length}
psid = 1
forwarding = true
"""
        for length in range(4, 9)
    )


ERRORS: dict[Callable[[Router], None], tuple[type[MapxdpError], str]] = {
    no_interface: (HostError, "no interface wan here"),
    no_gateway: (HostError, "no IPv6 default route through wan"),
    small_mtu: (HostError, "the MTU of wan is 1279"),
    larger_mtu_configured: (HostError, "mtu.wan = 1501 is more than the 1500 of wan"),
    ingress_qdisc: (HostError, "wan has an ingress qdisc"),
    other_default_route: (StateError, "there is an IPv4 default route via 10.9.9.1 on wan"),
    multipath_default_route: (StateError, "there is an IPv4 default route via 10.9.9.1 on wan"),
    filter_in_our_place: (
        StateError,
        "a filter of somebody else's has the preference 50000 at egress of wan: u32 "
        "→ .* tc filter del dev wan egress pref 50000",
    ),
    prefix_without_rule: (InvalidValue, "it matches no rule"),
    xdp_asked_for: (HostError, "XDP accelerates nothing here: ce.lan names no interface"),
    netfilter_in_software: (InvalidValue, "the software datapath does NAPT44 itself"),
    too_many_rules_for_an_address: (InvalidValue, "more than 4 forwarding rules compete"),
}


@pytest.mark.parametrize("cause", ERRORS, ids=lambda cause: cause.__name__)
def test_errors_say_why_and_change_nothing(cause: Callable[[Router], None], cpe: Router) -> None:
    kind, words = ERRORS[cause]
    cause(cpe)
    before = cpe.state() if cause is not no_interface else None
    with pytest.raises(kind, match=words) as raised:
        cpe.up()
    assert raised.value.remedy
    if before is not None:
        assert cpe.state() == before


def test_another_instance_on_the_wan(cpe: Router, tmp_path: Path) -> None:
    cpe.up()
    before = cpe.state()
    other = tmp_path / "other.toml"
    other.write_text(CONFIG.format(name=f"{cpe.name}x"), encoding="utf-8")
    with pytest.raises(StateError, match=f"instance {cpe.name} runs on wan already"):
        ce.up(other, cpe.name, lambda _: None)
    assert cpe.state() == before


def test_the_same_instance_elsewhere(cpe: Router) -> None:
    cpe.up()
    cpe.ip("link add other type veth peer name peer")
    cpe.write_config(CONFIG.replace('wan = "wan"', 'wan = "other"'))
    with pytest.raises(StateError, match="runs on wan in network namespace"):
        cpe.up()


@pytest.mark.parametrize("command", ["up", "reload"])
def test_the_same_instance_without_its_namespace(
    command: str, cpe: Router, capsys: pytest.CaptureFixture[str]
) -> None:
    cpe.up()
    assert cli.main([command, "-c", str(cpe.config)]) == StateError.exit_code
    assert f"→ give --netns {cpe.name} to change what runs there" in capsys.readouterr().err


def test_configuration_from_a_pipe(cpe: Router) -> None:
    """Which can be read once."""
    ours, theirs = os.pipe()
    os.write(theirs, cpe.config.read_bytes())
    os.close(theirs)
    try:
        assert cli.main(["up", "-c", f"/dev/fd/{ours}", "--netns", cpe.name]) == 0
    finally:
        os.close(ours)
    running = record.load(cpe.name)
    assert running is not None
    assert running.config_text == cpe.config.read_text(encoding="utf-8")


def test_unknown_namespace(cpe: Router) -> None:
    with pytest.raises(HostError, match="network namespace nowhere cannot be entered"):
        ce.up(cpe.config, "nowhere", lambda _: None)


def test_not_root(cpe: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(HostError, match="by root only"):
        cpe.up()


def test_kernel_too_old(cpe: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        release = "5.10.0-30-amd64"

    monkeypatch.setattr("os.uname", lambda: Old)
    with pytest.raises(HostError, match=r"kernel 5\.10\.0-30-amd64 is too old"):
        cpe.up()


def test_bcc_missing(cpe: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bcc", None)
    compiler.forget()
    before = cpe.state()
    with pytest.raises(HostError, match="apt install python3-bpfcc"):
        cpe.up()
    assert cpe.state() == before


def test_verifier_refuses(cpe: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that reads beyond the packet is refused, in the kernel's words."""
    broken = tmp_path / "bpf"
    shutil.copytree(bpf_source.bpf_directory(), broken)
    source = broken / "mapt.bpf.c"
    text = source.read_text(encoding="utf-8")
    entry = "PROGRAM int mapt_64(struct __sk_buff *skb)\n{\n"
    assert entry in text
    reading = "\tif (*(volatile const __u8 *)(tc_data(skb) + 9000))\n\t\treturn 0;\n"
    source.write_text(text.replace(entry, entry + reading), encoding="utf-8")
    monkeypatch.setattr(bpf_source, "bpf_directory", lambda: broken)
    before = cpe.state()
    with pytest.raises(HostError, match=r"refused BPF program mapt_64.*invalid access to packet"):
        cpe.up()
    assert cpe.state() == before


def test_inside_ip_netns_exec(cpe: Router) -> None:
    """There /sys/fs/bpf is another one, that vanishes: say so, and what to do."""
    import subprocess
    import sys

    done = subprocess.run(
        ["ip", "netns", "exec", cpe.name, sys.executable, "-m", "mapxdp", "up", "-c", cpe.config],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == HostError.exit_code
    assert f"run mapxdp outside of it, with --netns {cpe.name}" in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_of_the_command_line_are_one_line(
    cpe: Router, capsys: pytest.CaptureFixture[str]
) -> None:
    no_gateway(cpe)
    code = cli.main(["up", "-c", str(cpe.config), "--netns", cpe.name])
    assert code == HostError.exit_code
    said = capsys.readouterr().err
    assert said.startswith("mapxdp: no IPv6 default route through wan")
    assert "→" in said
    assert len(said.splitlines()) == 1


def test_a_refusal_of_netlink_is_one_line(
    cpe: Router, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Links, what: str, *_: Any, **__: Any) -> None:
        raise LinkError(what, errno.EOPNOTSUPP)

    before = cpe.state()
    monkeypatch.setattr(Links, "_request", refuse)
    assert cli.main(["up", "-c", str(cpe.config), "--netns", cpe.name]) == HostError.exit_code
    monkeypatch.undo()
    assert capsys.readouterr().err == (
        f"mapxdp: adding {MAP_ADDRESS}/128 to wan: Operation not supported "
        "→ the kernel lacks it: try 'modprobe -a sch_ingress cls_bpf'\n"
    )
    assert cpe.state() == before


def test_a_refusal_of_bpf_is_one_line(
    cpe: Router,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pins outside of a BPF file system: the kernel says no to root, too."""
    before = cpe.state()
    monkeypatch.setattr(bpffs, "INSTANCES", tmp_path / "mapxdp")
    assert cli.main(["up", "-c", str(cpe.config), "--netns", cpe.name]) == HostError.exit_code
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert said.startswith(f"mapxdp: the kernel did not pin {tmp_path}/mapxdp/{cpe.name}/run-")
    assert ": Operation not permitted → root is denied this here" in said
    assert len(said.splitlines()) == 1
    assert cpe.state() == before
    assert not (tmp_path / "mapxdp" / cpe.name).exists()


def test_down_of_nothing(bpf: None) -> None:
    with pytest.raises(StateError, match="nothing-of-this-name is not running"):
        ce.down("nothing-of-this-name", lambda _: None)


def test_filters_of_others_stay(cpe: Router) -> None:
    """Added with no preference, before ``up`` and after: the kernel's default is not ours."""
    add = f"filter add dev wan ingress {OTHER_FILTER}"
    cpe._tc("qdisc add dev wan clsact")
    cpe._tc(add)
    first = cpe.filters()
    assert "pref 49152" in first
    cpe.up()
    cpe._tc(add)
    cpe.up()
    assert cpe.filters().index("pref 49151") < cpe.filters().index("pref 50000 bpf")
    assert first in cpe.filters()
    ce.down(cpe.name, lambda _: None)
    assert first in cpe.filters()
    assert "pref 49151" in cpe.filters()
    assert "bpf" not in cpe.filters()


def test_a_filter_that_comes_between(cpe: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody takes the place after it was found free: it is not replaced."""
    require_place = Links.require_place

    def then_taken(self: Links, link: Link, hook: Hook, instance: str) -> None:
        require_place(self, link, hook, instance)
        cpe._tc("qdisc add dev wan clsact")
        cpe._tc(f"filter add dev wan egress pref 50000 {OTHER_FILTER}")

    monkeypatch.setattr(Links, "require_place", then_taken)
    with pytest.raises(StateError, match="a filter of somebody else's has the preference 50000"):
        cpe.up()
    assert "u32" in cpe._tc("filter show dev wan egress")


def test_down_detaches_its_own_only(cpe: Router) -> None:
    """Another instance's programs, attached meanwhile, are not this one's to detach."""
    cpe.up()
    with netns.entered(cpe.name), open_links() as links:
        wan = links.find("wan")
        fd = libbpf.open_pinned(cpe.pinned() / "upstream")
        for hook in Hook:
            links.detach(wan, hook, cpe.name)
            links.attach(wan, hook, fd, "another")
        os.close(fd)
    ce.down(cpe.name, lambda _: None)
    assert cpe.state()["hooks"] == {"INGRESS": "another", "EGRESS": "another"}


@pytest.mark.parametrize(
    "route", ["via inet6 fe80::5 dev wan", f"via inet6 {GATEWAY} dev wan metric 100"]
)
def test_down_leaves_default_routes_of_others(route: str, cpe: Router) -> None:
    """Set in place of ours, or beside it, while the CE runs."""
    cpe.up()
    cpe.ip(f"-4 route replace default {route}")
    ce.down(cpe.name, lambda _: None)
    assert cpe.ip("-4 route show default").strip() == f"default {route}"


def test_down_leaves_what_others_pinned(cpe: Router) -> None:
    cpe.up()
    directory = bpffs.instance_directory(cpe.name)
    other = directory / "other"
    other.mkdir()
    said: list[str] = []
    try:
        ce.down(cpe.name, said.append)
        assert list(directory.iterdir()) == [other]
        assert f"{directory} stays: there is more in it than mapxdp pinned" in said
    finally:
        other.rmdir()
        directory.rmdir()
