# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A whole MAP domain on one machine, in network namespaces, and checks that it works.

::

    client1 ──┐                                                             server
              ├─ br-lan (ce) wan ─── IPv6 only ─── ce0 (br) srv0 ────── HTTP, UDP
    client2 ──┘     mapxdp                         software BR
                             (peer) wan ────────── peer0
                              mapxdp

The peer is a CE too: it shows what crosses from CE to CE without the BR.
Nothing of the host's own network is touched.
"""
