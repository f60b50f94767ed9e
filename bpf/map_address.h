/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The MAP address of the CE that owns an IPv4 address and port, and back (RFC 7597 sections 5.2,
 * 5.3, 6 and 8.1), by one rule.
 *
 *    |     n bits         |  o bits   | s bits  |   128-n-o-s bits  |
 *    |  Rule IPv6 prefix  |  EA bits  |    0    |   interface ID    |
 *
 *    EA bits = p bits of IPv4 suffix, then q bits of PSID
 *    interface ID = 16 zero bits, IPv4 address, PSID; draft-03 has it 8 bits further up
 *
 * An IPv6 address is two numbers here. Rules are checked when they are configured; the masks on
 * shifts tell C that none is as wide as its type.
 */
#ifndef MAPXDP_MAP_ADDRESS_H
#define MAPXDP_MAP_ADDRESS_H

#include "byteorder.h"
#include "contract.h"
#include "inline.h"

struct address_bits {
	__u64 high;
	__u64 low;
};

INLINE struct address_bits bits_of_address(const __be32 address[4])
{
	struct address_bits bits = {
		.high = (__u64)host32(address[0]) << 32 | host32(address[1]),
		.low = (__u64)host32(address[2]) << 32 | host32(address[3]),
	};

	return bits;
}

INLINE void address_of_bits(struct address_bits bits, __be32 address[4])
{
	address[0] = net32(bits.high >> 32);
	address[1] = net32(bits.high);
	address[2] = net32(bits.low >> 32);
	address[3] = net32(bits.low);
}

/* The interface identifier's IPv4 address, where it is in the low half. */
INLINE __u64 identifier_of(__u32 ipv4, __u32 psid, __u32 shift)
{
	return ((__u64)ipv4 << 16 | psid) << (shift & 63);
}

INLINE __u32 identifier_ipv4(__u64 low, __u32 shift)
{
	return low >> ((16 + shift) & 63);
}

INLINE __u64 mask_of(__u32 bits)
{
	return (1ULL << (bits & 63)) - 1;
}

/* The PSID that owns a port; false where no CE does (RFC 7597 section 5.1): A = 0 is excluded, and
 * what has no port has no owner. */
INLINE _Bool psid_of_port(const struct rule *rule, __u32 port, __u32 *psid)
{
	__u32 offset = rule->psid_offset;

	*psid = 0;
	if (rule->kind == RULE_UNSHARED)
		return 1;
	if (port >= NO_PORT || (offset && !(port >> ((16 - offset) & 31))))
		return 0;
	*psid = (port >> ((16 - offset - rule->psid_length) & 31)) & mask_of(rule->psid_length);
	return 1;
}

/* The CE of a rule that owns the port: true if there is one, which has this `psid`. */
INLINE _Bool owned_under(const struct rule *rule, __u32 port, __u32 *psid)
{
	return psid_of_port(rule, port, psid) &&
	       (rule->kind != RULE_OF_ONE_PSID || *psid == rule->psid);
}

/* RFC 7597 section 5.3. `psid` is 0 under an unshared rule. */
INLINE struct address_bits map_address_of(const struct rule *rule, __u32 ipv4, __u32 psid)
{
	__u32 suffix_length = rule->ea_length - rule->embedded_psid;
	__u64 suffix = ((__u64)ipv4 >> (rule->host_bits & 63)) & mask_of(suffix_length);
	__u64 ea_bits =
		suffix << (rule->embedded_psid & 63) | (psid & mask_of(rule->embedded_psid));
	__u64 identifier = identifier_of(ipv4 & rule->shown_mask, psid, rule->identifier_shift);
	__u32 shift = rule->ea_shift;
	struct address_bits bits = {
		.high = rule->prefix[0],
		.low = rule->prefix[1] | (identifier & rule->identifier_mask),
	};

	if (shift >= 64) {
		bits.high |= ea_bits << (shift & 63);
	} else {
		bits.high |= ea_bits >> 1 >> (63 - shift);
		bits.low |= ea_bits << shift;
	}
	return bits;
}

/* The IPv4 address that the EA bits of a MAP address assign; of a prefix the first one. */
INLINE __u32 assigned_ipv4(const struct rule *rule, struct address_bits address)
{
	__u32 shift = rule->ea_shift;
	__u64 ea_bits;

	if (shift >= 64)
		ea_bits = address.high >> (shift & 63);
	else
		ea_bits = address.high << 1 << (63 - shift) | address.low >> shift;
	ea_bits = (ea_bits & mask_of(rule->ea_length)) >> (rule->embedded_psid & 63);
	return rule->ipv4 | (__u32)(ea_bits << (rule->host_bits & 63));
}

/* The IPv4 address whose packets have this source in MAP-T: where a prefix was assigned, the
 * interface identifier shows which address of it. */
INLINE __u32 translated_ipv4(const struct rule *rule, struct address_bits address)
{
	__u32 shown = identifier_ipv4(address.low, rule->identifier_shift);

	return assigned_ipv4(rule, address) | (shown & rule->shown_mask & ~rule->ipv4_mask);
}

INLINE _Bool same_bits(struct address_bits one, struct address_bits other)
{
	return !((one.high ^ other.high) | (one.low ^ other.low));
}

/* RFC 7597 section 8.1, and more: `address`, which is under the rule's prefix, is exactly the one
 * of (ipv4, port). That refuses a forged interface identifier too. */
INLINE _Bool is_map_address_of(const struct rule *rule, struct address_bits address, __u32 ipv4,
			       __u32 port)
{
	__u32 psid;

	if (!owned_under(rule, port, &psid))
		return 0;
	if ((ipv4 & rule->ipv4_mask) != assigned_ipv4(rule, address))
		return 0;
	return same_bits(map_address_of(rule, ipv4, psid), address);
}

#endif
