/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The port-set algorithm of RFC 7597 section 5.1, and the position of a port in its set.
 *
 *     0                   1
 *     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
 *    +-----------+-----------+-------+
 *    |     A     |   PSID    |   j   |
 *    +-----------+-----------+-------+
 *    |  a bits   |  k bits   |m bits |
 *
 * A >= 1 where a > 0. A slot is the position of a port in the set, in rising order: the ports
 * of the set are a table without holes. 16 - a is at least 1 and at most 16; the masks tell
 * the verifier so.
 */
#ifndef MAPXDP_PORT_SET_H
#define MAPXDP_PORT_SET_H

#include "contract.h"
#include "inline.h"

struct port_set {
	__u32 psid_offset; /* a */
	__u32 psid_length; /* k */
	__u32 psid;
};

INLINE struct port_set port_set_of(const struct config *config)
{
	struct port_set set = {
		.psid_offset = config->psid_offset,
		.psid_length = config->psid_length,
		.psid = config->psid,
	};

	return set;
}

INLINE __u32 contiguous_bits(const struct port_set *set)
{
	return (16 - set->psid_offset - set->psid_length) & 31;
}

INLINE __u32 block_shift(const struct port_set *set)
{
	return (16 - set->psid_offset) & 31;
}

INLINE __u32 first_block(const struct port_set *set)
{
	return set->psid_offset ? 1 : 0;
}

INLINE __u32 low_bits(__u32 count)
{
	return (1U << (count & 31)) - 1;
}

INLINE _Bool port_in_set(const struct port_set *set, __u32 port)
{
	__u32 psid = (port >> contiguous_bits(set)) & low_bits(set->psid_length);

	return psid == set->psid && (port >> block_shift(set)) >= first_block(set);
}

/* `port` must be in the set. */
INLINE __u32 slot_of_port(const struct port_set *set, __u32 port)
{
	__u32 m = contiguous_bits(set);

	return ((port >> block_shift(set)) - first_block(set)) << m | (port & low_bits(m));
}

/* `slot` must be below the number of ports in the set. */
INLINE __u32 port_of_slot(const struct port_set *set, __u32 slot)
{
	__u32 m = contiguous_bits(set);
	__u32 block = (slot >> m) + first_block(set);

	return (block << block_shift(set) | set->psid << m | (slot & low_bits(m))) & 0xffff;
}

#endif
