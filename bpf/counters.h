/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting: verdicts once for each packet, events beside them. Per CPU, never reset.
 *
 * Packets are what is on the wire: each piece of a segmented one. Bytes of translated packets
 * are those of IPv4, in both directions; of others, of whatever they are. */
#ifndef MAPXDP_COUNTERS_H
#define MAPXDP_COUNTERS_H

#include "portable.h"
#include "reasons.h"

_Static_assert((int)REASON_COUNT <= (int)REASONS_MAX, "raise REASONS_MAX and migrate counters");

INLINE void count(enum direction direction, enum reason reason, __u64 packets, __u64 bytes)
{
	__u32 index = (__u32)direction * REASONS_MAX + reason;
	struct counter *counter = kernel_map_lookup(MAP(counters), &index);

	if (counter) {
		counter->packets += packets;
		counter->bytes += bytes;
	}
}

INLINE void count_event(enum direction direction, enum reason event)
{
	count(direction, event, 1, 0);
}

#define MAPXDP_REASON_CLASS(class_, name, text)                                                    \
	case REASON_##name:                                                                        \
		return CLASS_##class_;

INLINE enum reason_class class_of(enum reason reason)
{
	switch (reason) {
		MAPXDP_REASONS(MAPXDP_REASON_CLASS)
	default:
		return CLASS_DROP;
	}
}

#endif
