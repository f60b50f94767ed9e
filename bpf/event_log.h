/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The log of mappings: one event when a mapping begins or ends, a bounded number in each tick,
 * for whoever reads the ring. */
#ifndef MAPXDP_EVENT_LOG_H
#define MAPXDP_EVENT_LOG_H

#include "counters.h"
#include "pool.h"

#define BUDGET_TICK_SHIFT 32

/* True while fewer than `most` have been taken from the budget in this tick. A race between two
 * CPUs at the turn of a tick gives away a few too many. */
INLINE _Bool take_budget(__u64 *budget, __u32 now, __u32 most)
{
	__u64 word = READ_ONCE(*budget);

	if (word >> BUDGET_TICK_SHIFT != now) {
		WRITE_ONCE(*budget, (__u64)now << BUDGET_TICK_SHIFT | 1);
		return most > 0;
	}
	if ((__u32)word >= most)
		return 0;
	add_to(budget, 1);
	return 1;
}

/* `peer` as in struct mapping; it is left out unless destinations are to be logged. */
INLINE void log_event(const struct config *config, enum event_kind kind, struct endpoint endpoint,
		      __u16 port, __u64 peer, __u32 now)
{
	_Bool destinations = config->log == LOG_DESTINATIONS;
	struct event event = {
		.kind = kind,
		.protocol = endpoint.protocol,
		.host = endpoint.ipv4,
		.host_port = endpoint.port,
		.port = port,
		.remote = destinations ? peer : 0,
		.remote_port = destinations ? peer >> OWNER_PORT_SHIFT : 0,
	};

	if (config->log == LOG_OFF)
		return;
	if (take_budget(&the_pool()->log_budget, now, config->log_per_tick)) {
		event.time_ns = kernel_ktime_ns();
		if (!kernel_ringbuf_output(MAP(events), &event, sizeof(event), 0))
			return;
	}
	count_event(DIRECTION_46, REASON_LOG_LOST);
}

#endif
