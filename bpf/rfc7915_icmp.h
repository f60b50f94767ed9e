/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP and ICMPv6 queries (RFC 7915 sections 4.2 and 5.2): echo and its reply. */
#ifndef MAPXDP_RFC7915_ICMP_H
#define MAPXDP_RFC7915_ICMP_H

#include "headers.h"
#include "inline.h"

INLINE __u8 icmpv6_echo_from_icmp(__u8 type)
{
	return type == ICMP_ECHO_REQUEST ? ICMPV6_ECHO_REQUEST : ICMPV6_ECHO_REPLY;
}

INLINE __u8 icmp_echo_from_icmpv6(__u8 type)
{
	return type == ICMPV6_ECHO_REQUEST ? ICMP_ECHO_REQUEST : ICMP_ECHO_REPLY;
}

#endif
