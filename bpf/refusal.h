/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a LAN host is told whose packet is refused: ICMP destination unreachable (RFC 792; RFC
 * 1812 section 4.3.2.7 says about what never). Pure; no hook is named here. */
#ifndef MAPXDP_REFUSAL_H
#define MAPXDP_REFUSAL_H

#include "byteorder.h"
#include "csum.h"
#include "headers.h"
#include "parse.h"
#include "portable.h"

enum { REFUSAL_TTL = 64, FRAGMENT_HEADER_LENGTH = 8 };

/* Of the transport header, what no port or checksum lies beyond: a network card's pending TCP
 * checksum is at octet 16. */
enum { QUOTED_TCP = 20, QUOTED_OTHER = 8, QUOTE_MIN = 20 + QUOTED_OTHER };

struct refusal {
	struct ipv4_header ipv4;
	struct icmp_header icmp;
};

/* The host got no port, or no flow: that is counted and logged, too (RFC 5508 REQ-8). */
INLINE _Bool is_want_of_ports(enum reason why)
{
	return why == REASON_HOST_LIMIT || why == REASON_FLOWS_FULL ||
	       why == REASON_PORTS_EXHAUSTED;
}

/* The code of the error; 0: nothing is said. */
INLINE __u8 refusal_code(const struct config *config, enum reason why)
{
	switch (why) {
	case REASON_TOO_BIG:
		return ICMP_FRAGMENTATION_NEEDED;
	case REASON_SOURCE_ROUTE:
		return ICMP_SOURCE_ROUTE_FAILED;
	default:
		return is_want_of_ports(why) ? config->refusal_code : 0;
	}
}

/* The error is a lie where the packet may be cut, and confuses where it has been. */
INLINE _Bool may_tell(const struct ipv4_header *ipv4, enum reason why)
{
	if (ipv4->fragment & net16(IPV4_FRAGMENT_OFFSET))
		return 0;
	return why != REASON_TOO_BIG || ipv4->fragment & net16(IPV4_DONT_FRAGMENT);
}

/* The error messages of RFC 792; what else ICMP carries is answered as any packet is. */
INLINE _Bool reports_an_error(__u8 type)
{
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

INLINE __u32 refusal_quote(const struct ipv4_header *ipv4)
{
	return ipv4_header_length(ipv4) +
	       (ipv4->protocol == PROTOCOL_TCP ? QUOTED_TCP : QUOTED_OTHER);
}

/* A fragment that is translated gets a Fragment header, too (RFC 7915 section 4.1). */
INLINE __u16 told_mtu(const struct config *config, const struct ipv4_header *packet)
{
	_Bool is_first = packet->fragment & net16(IPV4_MORE_FRAGMENTS);

	return config->ipv4_mtu - (config->dmr_length && is_first ? FRAGMENT_HEADER_LENGTH : 0);
}

/* Without NAPT44 the CE's address may be the router's own, or that of the very host that is told:
 * no kernel takes an error from itself. */
INLINE __be32 refusal_source(const struct config *config)
{
	return config->napt44 == NAPT44_NONE ? config->icmp_error_source : config->ipv4;
}

/* An error from this CE about a packet of which `quoted` octets are quoted; `quote_sum`
 * is their sum. */
INLINE void refuse_packet(const struct config *config, enum reason why,
			  const struct ipv4_header *packet, __u32 quoted, __u64 quote_sum,
			  struct refusal *out)
{
	__u8 code = refusal_code(config, why);

	out->ipv4.version_and_length = IPV4_NO_OPTIONS;
	out->ipv4.total_length = net16(sizeof(*out) + quoted);
	out->ipv4.fragment = net16(IPV4_DONT_FRAGMENT);
	out->ipv4.ttl = REFUSAL_TTL;
	out->ipv4.protocol = PROTOCOL_ICMP;
	out->ipv4.source = refusal_source(config);
	out->ipv4.destination = packet->source;
	out->ipv4.checksum = ipv4_header_checksum(&out->ipv4);
	out->icmp.type = ICMP_UNREACHABLE;
	out->icmp.code = code;
	/* The MTU of the next hop lies where echo messages have their sequence (RFC 1191). */
	out->icmp.sequence = why == REASON_TOO_BIG ? net16(told_mtu(config, packet)) : 0;
	out->icmp.checksum = ~sum_fold16((__u64)net16(ICMP_UNREACHABLE << 8 | code) +
					 out->icmp.sequence + quote_sum);
}

#endif
