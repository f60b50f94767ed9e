# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The software path: a CE and a BR in plain Python, packet bytes in, packet bytes out.

A second implementation, independent of ``bpf/``: the oracle of the datapath's tests, the BR
of the lab, and a CE for machines where BPF cannot run. It shares the model of addresses and
ports with the control plane, and the list of reasons; nothing else.
"""
