/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Translating an IPv6 header into an IPv4 header (RFC 7915 section 5.1).
 *
 * The packet has no extension headers. Hop Limit becomes TTL as it is: the router's kernel
 * takes the one hop off when it forwards.
 */
#ifndef MAPXDP_RFC7915_64_H
#define MAPXDP_RFC7915_64_H

#include "byteorder.h"
#include "csum.h"
#include "packet.h"

/* An IPv4 packet longer than this gets DF: its IPv6 form was longer than 1280 octets, so that
 * its sender knows the path MTU. A shorter one may have to be fragmented behind us. */
enum { LONGEST_WITHOUT_DF = 1260 };

INLINE __u8 protocol_from_next_header(__u8 next_header)
{
	return next_header == PROTOCOL_ICMPV6 ? PROTOCOL_ICMP : next_header;
}

INLINE __u32 ipv4_length_from_ipv6(const struct ipv6_view *ipv6)
{
	return ipv6->payload_length + sizeof(struct ipv4_header);
}

INLINE void ipv4_header_from_ipv6(const struct ipv6_view *ipv6, __be32 source, __be32 destination,
				  __u16 identification, struct ipv4_header *ipv4)
{
	__u32 total_length = ipv4_length_from_ipv6(ipv6);

	ipv4->version_and_length = IPV4_NO_OPTIONS;
	ipv4->tos = ipv6->traffic_class;
	ipv4->total_length = net16(total_length);
	ipv4->identification = net16(identification);
	ipv4->fragment = total_length > LONGEST_WITHOUT_DF ? net16(IPV4_DONT_FRAGMENT) : 0;
	ipv4->ttl = ipv6->hop_limit;
	ipv4->protocol = protocol_from_next_header(ipv6->next_header);
	ipv4->checksum = 0;
	ipv4->source = source;
	ipv4->destination = destination;
	ipv4->checksum = ipv4_header_checksum(ipv4);
}

#endif
