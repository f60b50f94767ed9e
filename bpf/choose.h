/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose packet is it? Choosing addresses in each direction (RFC 7599 section 8, RFC 7597
 * section 8), before any port is looked at. */
#ifndef MAPXDP_CHOOSE_H
#define MAPXDP_CHOOSE_H

#include "byteorder.h"
#include "contract.h"
#include "inline.h"
#include "reasons.h"
#include "rfc6052.h"

INLINE _Bool same_ipv6(const __be32 one[4], const __be32 other[4])
{
	return !((one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]) |
		 (one[3] ^ other[3]));
}

/* Multicast and the limited broadcast: for the link, not for the Internet. */
INLINE _Bool is_for_link(__be32 ipv4)
{
	return host32(ipv4) >> 28 == 14 || ipv4 == 0xffffffff;
}

/* What no host on the Internet has: 0/8, 127/8, 169.254/16 and from 224/4 on (RFC 6890). */
INLINE _Bool is_martian(__be32 ipv4)
{
	__u32 address = host32(ipv4);
	__u32 first = address >> 24;

	return first == 0 || first == 127 || first >= 224 || address >> 16 == 0xa9fe;
}

INLINE _Bool is_on_link(const struct config *config, __be32 ipv4)
{
	for (__u32 i = 0; i < ON_LINK_MAX; i++) {
		const struct ipv4_prefix *prefix = &config->on_link[i];

		if (i < config->on_link_count && (ipv4 & prefix->mask) == prefix->address)
			return 1;
	}
	return 0;
}

/* IPv4 that leaves the WAN is ours unless its destination never was beyond the WAN link. */
INLINE enum reason choose_46(const struct config *config, __be32 source, __be32 destination)
{
	if (is_for_link(destination))
		return REASON_DESTINATION_NOT_ROUTED;
	if (config->on_link_count && is_on_link(config, destination))
		return REASON_DESTINATION_ON_LINK;
	if (is_martian(destination))
		return REASON_DESTINATION_MARTIAN;
	return is_martian(source) ? REASON_SOURCE_MARTIAN : REASON_TRANSLATED;
}

INLINE _Bool is_own_ipv4(const struct config *config, __be32 ipv4)
{
	return (ipv4 & config->ipv4_mask) == config->ipv4;
}

#endif
