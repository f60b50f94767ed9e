/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Translating an IPv4 header into an IPv6 header (RFC 7915 section 4.1).
 *
 * The packet is whole (no Fragment header) and has no options. TTL becomes Hop Limit as it
 * is: the router's kernel takes the one hop off when it forwards (docs/packet-flow.md).
 */
#ifndef MAPXDP_RFC7915_46_H
#define MAPXDP_RFC7915_46_H

#include "byteorder.h"
#include "inline.h"
#include "packet.h"

INLINE __u8 next_header_from_protocol(__u8 protocol)
{
	return protocol == PROTOCOL_ICMP ? PROTOCOL_ICMPV6 : protocol;
}

INLINE void ipv6_header_from_ipv4(const struct ipv4_view *ipv4, const __be32 source[4],
				  const __be32 destination[4], struct ipv6_header *ipv6)
{
	/* Traffic Class: the whole TOS octet, ECN with it. Flow Label: 0. */
	ipv6->version_class_flow = net32(6U << 28 | (__u32)ipv4->header.tos << 20);
	ipv6->payload_length = net16(ipv4->total_length - sizeof(struct ipv4_header));
	ipv6->next_header = next_header_from_protocol(ipv4->header.protocol);
	ipv6->hop_limit = ipv4->header.ttl;
	__builtin_memcpy(ipv6->source, source, sizeof(ipv6->source));
	__builtin_memcpy(ipv6->destination, destination, sizeof(ipv6->destination));
}

#endif
