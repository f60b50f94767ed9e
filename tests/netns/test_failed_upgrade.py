# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""An upgrade that fails at any of its steps leaves the programs of the accelerator that were there,
also where it was about to move them to another hook, or to other interfaces."""

from __future__ import annotations

from itertools import count

import pytest

from harness import steps
from harness.router import Router
from harness.steps import Failing, MadeToFail
from harness.waiting import comes_true
from mapxdp import record
from mapxdp.datapath import instance, libbpf
from mapxdp.errors import HostError

pytestmark = pytest.mark.timeout(600)

FROM_TO = {
    "tc to xdp": (("tc", "lan0"), ("xdp", "lan0")),
    "xdp to tc": (("xdp", "lan0"), ("tc", "lan0")),
    "a lan more at tc": (("tc", "lan0"), ("tc", "lan0", "lan1")),
    "a lan more at xdp": (("xdp", "lan0"), ("xdp", "lan0", "lan1")),
    "another lan and hook": (("tc", "lan0"), ("xdp", "lan1")),
}


@pytest.fixture
def cabled(cpe: Router) -> Router:
    """With two LAN interfaces; XDP can send into all."""
    for name in ("lan0", "lan1"):
        cpe.add_port(name)
    for other_end in ("cpe", "lan0", "lan1"):
        cpe.set_polling(other_end, "on")
    return cpe


@pytest.mark.parametrize("change", FROM_TO)
def test_upgrade_failing_at_each_step(change: str, cabled: Router) -> None:
    before, after = FROM_TO[change]
    cabled.configure(*before)
    cabled.up()
    attached, state = cabled.everything_attached(), cabled.state()
    running = record.load(cabled.name)
    cabled.configure(*after)
    for number in count(1):
        failing = Failing(number)
        with steps.watched(failing):
            if not fails(cabled):
                break
        where = f"failed at step {number}: {failing.step}"
        assert cabled.everything_attached() == attached, where
        assert (cabled.state(), record.load(cabled.name)) == (state, running), where
    assert number > 10
    now = record.load(cabled.name)
    assert now is not None
    assert (now.accelerator, *now.accelerated) == after


def fails(cpe: Router) -> bool:
    """Whether ``up`` fails; not otherwise than it was made to."""
    try:
        cpe.up()
    except MadeToFail:
        return True
    except HostError as error:
        assert "made to fail" in str(error)
        return True
    return False


def test_programs_that_went_with_their_pins_are_not_put_back(cpe: Router) -> None:
    """Where the BPF file system was lost, as with a container, filters alone hold the programs."""
    cpe.up()
    former = cpe.attached_programs()
    instance.remove(cpe.name)

    def fail_at_last(step: str) -> None:
        if step == "make_current":
            assert comes_true(lambda: not any(map(is_there, former)), 10)
            raise MadeToFail(5, "made to fail")

    with steps.watched(fail_at_last):
        assert fails(cpe)
    assert cpe.state()["hooks"] == {"INGRESS": None, "EGRESS": None}
    cpe.up()
    assert cpe.state()["hooks"] == {"INGRESS": cpe.name, "EGRESS": cpe.name}


def is_there(program: str) -> bool:
    with libbpf.opened_program(int(program)) as opened:
        return opened is not None
