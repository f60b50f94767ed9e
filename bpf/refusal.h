/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a host is told that got no port: ICMP destination unreachable (RFC 5508 REQ-8, RFC 792).
 * Pure; no hook is named here. */
#ifndef MAPXDP_REFUSAL_H
#define MAPXDP_REFUSAL_H

#include "byteorder.h"
#include "csum.h"
#include "headers.h"
#include "portable.h"

enum { REFUSAL_TTL = 64 };

/* The refused packet's IPv4 header, and of its transport header what no port or checksum lies
 * beyond: a network card's pending TCP checksum is at octet 16. */
enum { QUOTE_MAX = 40, QUOTED_TCP = 20, QUOTED_OTHER = 8 };

struct refusal {
	struct ipv4_header ipv4;
	struct icmp_header icmp;
};

INLINE __u16 header_sum(const struct ipv4_header *header)
{
	const __u16 *words = (const __u16 *)header;
	__u64 sum = 0;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < sizeof(*header) / 2; i++)
		sum += words[i];
	return sum_fold16(sum);
}

/* An error from `from` to `to` about a packet of which `quoted` octets are quoted; `quote_sum`
 * is their sum. */
INLINE void refuse_packet(__u8 code, __be32 from, __be32 to, __u32 quoted, __u64 quote_sum,
			  struct refusal *out)
{
	out->ipv4.version_and_length = 0x45;
	out->ipv4.total_length = net16(sizeof(*out) + quoted);
	out->ipv4.fragment = net16(IPV4_DONT_FRAGMENT);
	out->ipv4.ttl = REFUSAL_TTL;
	out->ipv4.protocol = PROTOCOL_ICMP;
	out->ipv4.source = from;
	out->ipv4.destination = to;
	out->ipv4.checksum = ~header_sum(&out->ipv4);
	out->icmp.type = ICMP_UNREACHABLE;
	out->icmp.code = code;
	out->icmp.checksum = ~sum_fold16(net16(ICMP_UNREACHABLE << 8 | code) + quote_sum);
}

#endif
