# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Benchmarks of mapxdp against the kernel's own: see ``docs/benchmarks.md``.

Each benchmark is a module or package here, named in ``__main__``; what they have in common:

    frames      frames that arrive at a router's LAN, and their end at its WAN
    topology    the routers, each in a network namespace
    edges       mapxdp's datapath on a router
    measure     CPU time, rounds, ratios
    bpf         single runs of a program, and how long it is
    report      the machine, the numbers, as text and as JSON
    svg         their ratios as a drawing
"""
