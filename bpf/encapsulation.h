/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv4 in IPv6: the tunnel header of RFC 2473 sections 5 and 6, and ECN at its two ends
 * (RFC 6040 section 4). No Tunnel Encapsulation Limit is ever sent. */
#ifndef MAPXDP_ENCAPSULATION_H
#define MAPXDP_ENCAPSULATION_H

#include "byteorder.h"
#include "csum.h"
#include "packet.h"
#include "reasons.h"

enum { TUNNEL_HOP_LIMIT = 64 }; /* RFC 2473 section 6.3 */

enum ecn { ECN_NOT_ECT = 0, ECN_ECT1 = 1, ECN_ECT0 = 2, ECN_CE = 3, ECN_MASK = 3 };

/* The outer header. Traffic Class is the inner TOS: DSCP by RFC 2473 section 6.4, ECN by the
 * normal mode of RFC 6040 section 4.1. */
INLINE void tunnel_header(const struct ipv4_view *inner, const __be32 source[4],
			  const __be32 destination[4], struct ipv6_header *outer)
{
	outer->version_class_flow = net32(6U << 28 | (__u32)inner->header.tos << 20);
	outer->payload_length = net16(inner->total_length);
	outer->next_header = PROTOCOL_IPV4;
	outer->hop_limit = TUNNEL_HOP_LIMIT;
	__builtin_memcpy(outer->source, source, sizeof(outer->source));
	__builtin_memcpy(outer->destination, destination, sizeof(outer->destination));
}

/* RFC 6040 section 4.2, figure 4: the TOS that leaves the tunnel. */
INLINE enum reason decapsulated_tos(__u8 inner, __u8 outer, __u8 *tos)
{
	__u8 inner_ecn = inner & ECN_MASK;
	__u8 outer_ecn = outer & ECN_MASK;

	*tos = inner;
	if (outer_ecn == ECN_CE) {
		if (inner_ecn == ECN_NOT_ECT)
			return REASON_CONGESTION_MARK_LOST;
		*tos = inner | ECN_CE;
	} else if (outer_ecn == ECN_ECT1 && inner_ecn == ECN_ECT0) {
		*tos = (inner & ~ECN_MASK) | ECN_ECT1;
	}
	return REASON_TRANSLATED;
}

/* The IPv4 header with another address pair and TOS, its checksum brought up to date. */
INLINE void ipv4_header_renumbered(const struct ipv4_header *from, __be32 source,
				   __be32 destination, __u8 tos, struct ipv4_header *to)
{
	/* TOS shares its 16-bit word with version and length. */
	__u16 old_first = *(const __u16 *)from;
	__u16 new_first;

	*to = *from;
	to->tos = tos;
	to->source = source;
	to->destination = destination;
	new_first = *(const __u16 *)to;
	to->checksum =
		checksum_after(from->checksum, (__u64)old_first + from->source + from->destination,
			       (__u64)new_first + source + destination);
}

#endif
