# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A whole MAP domain on one machine, in network namespaces, and checks that it works.

::

    client1 ──┐
              ├─ br-lan (ce) wan ─── IPv6 only ─── ce0 (br) srv0 ─── server
    client2 ──┘     mapxdp                       software BR       HTTP, UDP

Nothing of the host's own network is touched.
"""
