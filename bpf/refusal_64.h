/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the sender of a packet from the domain is told, where that is asked for: an ICMPv6 error
 * (RFC 4443; RFC 7915 section 5.1, RFC 7599 section 8.2). Pure; no hook is named here. */
#ifndef MAPXDP_REFUSAL_64_H
#define MAPXDP_REFUSAL_64_H

#include "byteorder.h"
#include "contract.h"
#include "csum.h"
#include "headers.h"
#include "packet.h"
#include "reasons.h"

/* An error is no longer than what every link carries. */
enum { REFUSAL_64_MAX = 1280, REFUSAL_64_HOP_LIMIT = 64 };

struct icmpv6_error_header {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 pointer; /* of a parameter problem */
};

struct refusal_64 {
	struct ipv6_header ipv6;
	struct icmpv6_error_header icmp;
};

enum { QUOTE_64_MAX = REFUSAL_64_MAX - sizeof(struct refusal_64) };

/* Octets of the packet that are quoted. */
INLINE __u32 quoted_octets_64(const struct ipv6_view *ipv6)
{
	__u32 length = sizeof(struct ipv6_header) + ipv6->payload_length;

	return length < QUOTE_64_MAX ? length : QUOTE_64_MAX;
}

/* An error, from the address that the packet was for, about a packet of which `quoted` octets are quoted; `sum` is
 * theirs. */
INLINE void refuse_packet_64(enum reason why, const struct ipv6_view *packet, __u32 pointer,
			     __u32 quoted, __u64 sum, struct refusal_64 *out)
{
	_Bool is_route = why == REASON_ROUTING_HEADER;
	__u16 length = sizeof(out->icmp) + quoted;

	out->ipv6.version_class_flow = net32(6U << 28);
	out->ipv6.payload_length = net16(length);
	out->ipv6.next_header = PROTOCOL_ICMPV6;
	out->ipv6.hop_limit = REFUSAL_64_HOP_LIMIT;
	__builtin_memcpy(out->ipv6.source, packet->destination, sizeof(out->ipv6.source));
	__builtin_memcpy(out->ipv6.destination, packet->source, sizeof(out->ipv6.destination));
	out->icmp.type = is_route ? ICMPV6_PARAMETER_PROBLEM : ICMPV6_UNREACHABLE;
	out->icmp.code = is_route ? 0 : ICMPV6_POLICY;
	out->icmp.pointer = is_route ? net32(pointer) : 0;
	sum += sum_ipv6(out->ipv6.source) + sum_ipv6(out->ipv6.destination) +
	       out->ipv6.payload_length + net16(PROTOCOL_ICMPV6) +
	       net16(out->icmp.type << 8 | out->icmp.code) + out->icmp.pointer;
	out->icmp.checksum = ~sum_fold16(sum);
}

#endif
