/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an error about a tunnel packet means for the packet in it (RFC 2473 section 8). Pure. */
#ifndef MAPXDP_TUNNEL_ERROR_H
#define MAPXDP_TUNNEL_ERROR_H

#include "choose.h"
#include "refusal.h"
#include "rfc7915_icmp.h"

/* A Tunnel Encapsulation Limit option in a header of its own (RFC 2473 section 4.1.1). We send
 * none. Errors point at the limit. */
struct tunnel_limit {
	__u8 next_header;
	__u8 length;
	__u8 option;
	__u8 option_length;
	__u8 limit;
	__u8 padding[3];
};

enum {
	TUNNEL_LIMIT_OPTION = 4,
	LIMIT_POINTER = sizeof(struct ipv6_header) + __builtin_offsetof(struct tunnel_limit, limit),
};

struct tunnel_error {
	struct ipv4_header ipv4;
	struct icmp_error icmp;
};

INLINE _Bool is_tunnel_header(const struct ipv6_header *header, const __be32 source[4])
{
	return host32(header->version_class_flow) >> 28 == 6 && same_ipv6(header->source, source);
}

INLINE _Bool is_tunnel_limit(const struct tunnel_limit *limit)
{
	return limit->next_header == PROTOCOL_IPV4 && limit->length == 0 &&
	       limit->option == TUNNEL_LIMIT_OPTION;
}

/* Table of section 8: others are faults of the tunnel header, and nobody's business. */
INLINE _Bool is_tunnel_error(const struct icmp_error *icmp)
{
	switch (icmp->type) {
	case ICMPV6_UNREACHABLE:
		return 1;
	case ICMPV6_TOO_BIG:
	case ICMPV6_TIME_EXCEEDED:
	case ICMPV6_PARAMETER_PROBLEM:
		return icmp->code == 0;
	default:
		return 0;
	}
}

/* The BR has no binding for the address and port that the packet came from. */
INLINE _Bool is_refusal_by_br(const struct icmp_error *icmp)
{
	return icmp->type == ICMPV6_UNREACHABLE && icmp->code == ICMPV6_POLICY;
}

/* Whether the sender of `inner` could do anything about it. An MTU below IPv6's least is none
 * (RFC 8201 section 4). */
INLINE _Bool concerns_inner(const struct icmp_error *icmp, const struct ipv4_header *inner,
			    _Bool is_limit)
{
	if (icmp->type == ICMPV6_PARAMETER_PROBLEM)
		return is_limit;
	if (icmp->type != ICMPV6_TOO_BIG)
		return 1;
	return host32(icmp->word) >= IPV6_LEAST_MTU && inner->fragment & net16(IPV4_DONT_FRAGMENT);
}

/* The error from `source` to `destination` about a packet of which `quoted` octets are quoted. */
INLINE void tell_sender(const struct icmp_error *icmp, __u32 ipv6_mtu, __be32 source,
			__be32 destination, __u32 quoted, __u16 identification,
			struct tunnel_error *out)
{
	_Bool is_too_big = icmp->type == ICMPV6_TOO_BIG;
	__u32 mtu = lesser(host32(icmp->word), ipv6_mtu) - sizeof(struct ipv6_header);

	*out = (struct tunnel_error){
		.ipv4 = {.version_and_length = IPV4_NO_OPTIONS,
			 .total_length = net16(sizeof(*out) + quoted),
			 .identification = net16(identification),
			 .ttl = REFUSAL_TTL,
			 .protocol = PROTOCOL_ICMP,
			 .source = source,
			 .destination = destination},
		.icmp = {.type = ICMP_UNREACHABLE,
			 .code = is_too_big ? ICMP_FRAGMENTATION_NEEDED : ICMP_HOST_UNREACHABLE,
			 .word = is_too_big ? net32(mtu) : 0},
	};
	out->ipv4.checksum = ipv4_header_checksum(&out->ipv4);
}

#endif
