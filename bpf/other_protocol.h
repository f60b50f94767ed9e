/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Protocols without ports, or whose ports NAPT44 does not know. They cannot share an address;
 * one that is a CE's own alone they cross as RFC 7915 sections 4.1 and 5.1 ask for. Pure; no
 * hook is named here. */
#ifndef MAPXDP_OTHER_PROTOCOL_H
#define MAPXDP_OTHER_PROTOCOL_H

#include "translate46.h"
#include "translate64.h"

enum other_protocol {
	PROTOCOL_IGMP = 2,
	PROTOCOL_DCCP = 33,
	NO_NEXT_HEADER = 59,
	PROTOCOL_UDP_LITE = 136,
};

/* Of those of them whose checksum covers addresses: DCCP (RFC 4340 section 9) and UDP-Lite (RFC
 * 3828 section 3.1) have it at the same place. */
enum { OTHER_CHECKSUM_OFFSET = 6, OTHER_HEADER = 8 };

INLINE _Bool carries_any_protocol(const struct config *config)
{
	return config->napt44 == NAPT44_NONE && !config->psid_length;
}

INLINE _Bool covers_addresses(__u8 protocol)
{
	return protocol == PROTOCOL_DCCP || protocol == PROTOCOL_UDP_LITE;
}

/* False for numbers that mean something else, or nothing, behind the other IP header; and for
 * IGMP, which stays on its link. A tunnel changes no header. */
INLINE _Bool may_cross(const struct config *config, __u8 protocol)
{
	if (protocol == PROTOCOL_IGMP)
		return 0;
	if (!config->dmr_length)
		return 1;
	return !is_extension_header(protocol) && protocol != EXTENSION_FRAGMENT &&
	       protocol != PROTOCOL_ICMP && protocol != PROTOCOL_ICMPV6 &&
	       protocol != NO_NEXT_HEADER;
}

INLINE enum reason check_other(const struct config *config, __u8 protocol, __u32 payload)
{
	if (!carries_any_protocol(config) || !may_cross(config, protocol))
		return REASON_PROTOCOL_WITHOUT_PORTS;
	if (covers_addresses(protocol) && payload < OTHER_HEADER)
		return REASON_MALFORMED_TRANSPORT;
	return REASON_TRANSLATED;
}

INLINE enum reason check_other_46(const struct config *config, const struct ipv4_view *ipv4)
{
	__u32 payload = ipv4->total_length - ipv4_header_length(&ipv4->header);
	enum reason reason = check_other(config, ipv4->header.protocol, payload);

	if (reason)
		return reason;
	if (ipv4->total_length > config->ipv4_mtu)
		return REASON_TOO_BIG;
	return is_own_ipv4(config, ipv4->header.source) ? REASON_TRANSLATED
							: REASON_SOURCE_NOT_OURS;
}

/* Nobody else has this CE's address, whatever the port. */
INLINE enum reason check_other_64(const struct config *config, __u8 protocol, __u32 payload,
				  __u32 rule, const __be32 address[4], __be32 source)
{
	enum reason reason = check_other(config, protocol, payload);

	if (!reason)
		reason = check_global(config, rule, source);
	if (reason)
		return reason;
	if (is_martian(source) || is_own_ipv4(config, source))
		return REASON_SOURCE_MARTIAN;
	return check_source_64(rule, address, source, NO_PORT);
}

/* MAP-T: the header the packet will have; what its addresses add to the checksum is `change`. */
INLINE void translate_other_46(const struct config *config, const struct ipv4_view *ipv4,
			       struct ipv6_header *out, __u32 *change)
{
	const struct ipv4_header *header = &ipv4->header;
	__be32 source[4], destination[4];

	translated_source(config, header->source, source);
	translated_destination(config, header->destination, NO_PORT, destination);
	ipv6_header_from_ipv4(ipv4, source, destination, out);
	set_traffic_class(out, translated_class(config, header->tos));
	*change = sum_fold32(sum_without((__u64)header->source + header->destination) +
			     sum_ipv6(out->source) + sum_ipv6(out->destination));
}

INLINE void translate_other_64(const struct config *config, const struct ipv6_view *ipv6,
			       __be32 source, __u16 identification, struct ipv4_header *out,
			       __u32 *change)
{
	__be32 own = ipv4_of_own(config, ipv6->destination);

	ipv4_header_from_ipv6(ipv6, source, own, identification, out);
	*change = sum_fold32(sum_without(sum_ipv6(ipv6->source) + sum_ipv6(ipv6->destination)) +
			     source + own);
}

#endif
