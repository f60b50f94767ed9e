/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which CE has an IPv4 address and port, and who may send from one (RFC 7597 sections 5 and 8.1,
 * RFC 7599 sections 8.1 and 8.2): the look-ups in the forwarding rules. Without FMRs there are
 * none. */
#ifndef MAPXDP_RULES_H
#define MAPXDP_RULES_H

#include "choose.h"
#include "map_address.h"
#include "portable.h"
#include "rfc6052.h"
#include "rule_tree.h"

INLINE const struct rule *rule_at(__u32 position)
{
	return kernel_map_lookup(MAP(rules), &position);
}

/* The rule of an explicit PSID, beside the one that was found by address. */
INLINE const struct rule *rule_of_psid(__u32 position, __u32 psid)
{
	struct psid_key key = {.rule = position, .psid = psid};
	const __u32 *found = kernel_map_lookup(MAP(rule_by_psid), &key);

	return found ? rule_at(*found) : 0;
}

/* The FMR for a destination: longest IPv4 prefix with an owner for the port, which has `psid`. */
INLINE const struct rule *rule_towards(const struct config *config, __be32 ipv4, __u32 port,
				       __u32 *psid)
{
	__u32 position =
		find_in_tree(MAP(rule_by_ipv4), &config->ipv4_root, bits_of_ipv4(ipv4), DMR_RULE);

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < RULE_CHAIN_MAX && position; i++) {
		const struct rule *rule = rule_at(position);
		const struct rule *other;

		if (!rule)
			return 0;
		if (psid_of_port(rule, port, psid)) {
			if (rule->kind != RULE_OF_ONE_PSID || *psid == rule->psid)
				return rule;
			other = rule_of_psid(position, *psid);
			if (other)
				return other;
		}
		position = rule->next;
	}
	return 0;
}

/* The MAP address of the CE that has a destination, by an FMR; false where no FMR leads there.
 * `port` is the destination's, or the identifier with which an ICMP echo message leaves. */
INLINE _Bool peer_address(const struct config *config, __be32 ipv4, __u32 port, __be32 address[4])
{
	const struct rule *rule;
	__u32 psid = 0;

	if (!config->rule_count)
		return 0;
	rule = rule_towards(config, ipv4, port, &psid);
	if (!rule)
		return 0;
	address_of_bits(map_address_of(rule, host32(ipv4), psid), address);
	return 1;
}

/* MAP-T: the IPv6 destination of packets to (ipv4, port): by an FMR, else by the DMR. */
INLINE void translated_destination(const struct config *config, __be32 ipv4, __u32 port,
				   __be32 address[4])
{
	if (!peer_address(config, ipv4, port, address))
		rfc6052_embed(config->far_end, config->dmr_length, ipv4, address);
}

/* MAP-E: the far end of the tunnel for packets to (ipv4, port): by an FMR, else the BR. */
INLINE void tunnel_destination(const struct config *config, __be32 ipv4, __u32 port,
			       __be32 address[4])
{
	if (!peer_address(config, ipv4, port, address))
		__builtin_memcpy(address, config->far_end, sizeof(config->far_end));
}

/* The FMR an IPv6 address is under, DMR_RULE, or NO_RULE. */
INLINE __u32 rule_of_source(const struct config *config, const __be32 address[4])
{
	return find_in_tree(MAP(rule_by_ipv6), &config->ipv6_root, bits_of_address(address),
			    NO_RULE);
}

/* MAP-T: where a packet from this address comes from. What is under the DMR has to be an address
 * that stands for an IPv4 one. */
INLINE __u32 rule_of_translated(const struct config *config, const __be32 address[4])
{
	_Bool from_dmr = under_prefix(address, config->far_end, config->dmr_length);
	__u32 rule = from_dmr ? DMR_RULE : NO_RULE;

	if (config->rule_count && (!from_dmr || config->rules_in_dmr))
		rule = rule_of_source(config, address);
	return rule == DMR_RULE && has_u_octet(address) ? NO_RULE : rule;
}

/* MAP-E: the same for a tunnel's source; DMR_RULE stands for the BR. */
INLINE __u32 rule_of_tunnelled(const struct config *config, const __be32 address[4])
{
	if (same_ipv6(address, config->far_end))
		return DMR_RULE;
	return config->rule_count ? rule_of_source(config, address) : NO_RULE;
}

/* MAP-T: the IPv4 address that such an IPv6 address stands for, as far as it is known without a
 * port. */
INLINE __be32 ipv4_of_translated(const struct config *config, __u32 position,
				 const __be32 address[4])
{
	const struct rule *rule;

	if (position == DMR_RULE)
		return rfc6052_extract(address, config->dmr_length);
	rule = rule_at(position);
	return rule ? net32(translated_ipv4(rule, bits_of_address(address))) : 0;
}

/* Do the IPv6 address, the IPv4 address and the port belong together? The BR answers for its own,
 * whatever they are. */
INLINE enum reason check_source_64(__u32 position, const __be32 address[4], __be32 ipv4, __u32 port)
{
	const struct rule *rule;

	if (position == DMR_RULE)
		return REASON_TRANSLATED;
	rule = rule_at(position);
	if (!rule || !is_map_address_of(rule, bits_of_address(address), host32(ipv4), port))
		return REASON_SOURCE_INCONSISTENT;
	return REASON_TRANSLATED;
}

/* MAP-T: the IPv6 source of packets from an IPv4 address of this CE. It shows which one that is,
 * where a prefix was assigned. */
INLINE void translated_source(const struct config *config, __be32 ipv4, __be32 address[4])
{
	__u64 host = identifier_of(host32(ipv4 & config->host_mask), 0, config->identifier_shift);

	__builtin_memcpy(address, config->map_address, sizeof(config->map_address));
	address[2] |= net32(host >> 32);
	address[3] |= net32(host);
}

/* The inverse: the IPv4 address of this CE that a packet to its MAP address is for. */
INLINE __be32 ipv4_of_own(const struct config *config, const __be32 address[4])
{
	__u64 low = (__u64)host32(address[2]) << 32 | host32(address[3]);
	__u32 shown = identifier_ipv4(low, config->identifier_shift);

	return config->ipv4 | (net32(shown) & config->host_mask);
}

/* True for the MAP address, and in MAP-T of a prefix for those of all its hosts. */
INLINE _Bool is_map_address(const struct config *config, const __be32 address[4])
{
	return !(((address[0] ^ config->map_address[0]) & config->map_mask[0]) |
		 ((address[1] ^ config->map_address[1]) & config->map_mask[1]) |
		 ((address[2] ^ config->map_address[2]) & config->map_mask[2]) |
		 ((address[3] ^ config->map_address[3]) & config->map_mask[3]));
}

#endif
