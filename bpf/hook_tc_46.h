/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC egress of the WAN: the steps of the three programs every mode has for upstream packets.
 *
 *   entry      established mappings; a packet without one goes on to
 *   allocate   a free port for it; if there is none, on to
 *   reclaim    an expired port for it, SCAN_SLOTS slots a run
 *
 * Each begins by reading the packet again: a tail call takes nothing along but the packet and
 * its control block, which holds the progress of the scan.
 */
#ifndef MAPXDP_HOOK_TC_46_H
#define MAPXDP_HOOK_TC_46_H

#include "hook_tc.h"
#include "translate46.h"

/* The kernel allows 33 tail calls for a packet; some are left to allocation. A port set of
 * more slots than these runs see is scanned by several packets. */
enum { SCAN_RUNS_MAX = 24 };

/* Where the scan is, in the control block. */
enum control_block { CB_SCAN_START, CB_SCAN_DONE, CB_SCAN_RUNS };

/* What the programs of a mode have in common: a packet, and what it will count as. */
struct tc_upstream {
	const struct config *config;
	struct upstream packet;
	__u32 packets;
	__u32 bytes;
};

INLINE enum reason tc_admit_46(struct __sk_buff *skb, struct tc_upstream *up)
{
	enum reason reason;

	up->config = active_config();
	up->packets = 1;
	up->bytes = tc_network_length(skb);
	if (skb->protocol != net16(ETHERTYPE_IPV4))
		return REASON_NOT_IPV4;
	tc_pull_headers(skb);
	reason = admit_46(up->config, tc_data(skb), tc_end(skb), L2_LENGTH, up->bytes, &up->packet);
	if (reason)
		return reason;
	up->packets =
		tc_segments(skb, up->packet.transport.offset + up->packet.transport.header_length);
	if (!fits_46(up->config, &up->packet, skb->gso_size))
		return REASON_TOO_BIG;
	return REASON_TRANSLATED;
}

/* How a program gets the port of a packet: the only step in which the three differ. */
typedef enum reason (*port_step)(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port);

/* How a mode turns the packet into IPv6 and writes it. */
typedef enum reason (*emit_step)(struct __sk_buff *skb, const struct tc_upstream *up, __u16 port);

/* A reason for the packet to end here; REASON_TRANSLATED where `port` was found. Does not
 * return where another program takes over. */
INLINE enum reason tc_allocation_failed(struct __sk_buff *skb, enum allocation allocation)
{
	switch (allocation) {
	case ALLOCATION_RETRY:
		count_event(DIRECTION_46, REASON_ALLOCATION_RETRIED);
		kernel_tail_call(skb, MAP(programs), PROGRAM_ALLOCATE);
		return REASON_ALLOCATION_CONTENDED;
	case ALLOCATION_NO_FREE:
		kernel_tail_call(skb, MAP(programs), PROGRAM_RECLAIM);
		return REASON_PROGRAM_MISSING;
	case ALLOCATION_INDEX_FULL:
		return REASON_MAPPING_INDEX_FULL;
	default:
		return REASON_PORTS_EXHAUSTED;
	}
}

/* Entry program: the port of an established mapping, or the one the packet already has. */
INLINE enum reason tc_port_46(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port)
{
	struct applicant applicant;

	if (up->config->napt44 == NAPT44_NONE) {
		*port = up->packet.transport.source_port;
		return check_source(up->config, &up->packet);
	}
	applicant = applicant_for(up->config, &up->packet);
	if (established_port(up->config, &applicant.endpoint, applicant.transport, applicant.peer,
			     applicant.now, port))
		return REASON_TRANSLATED;
	if (up->packet.transport.tcp_flags & TCP_RST)
		return REASON_NO_MAPPING;
	kernel_tail_call(skb, MAP(programs), PROGRAM_ALLOCATE);
	return REASON_PROGRAM_MISSING;
}

/* Allocate program. */
INLINE enum reason tc_allocate_46(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port)
{
	struct applicant applicant = applicant_for(up->config, &up->packet);
	enum allocation allocation = allocate(&applicant, port);

	if (allocation == ALLOCATED)
		return REASON_TRANSLATED;
	skb->cb[CB_SCAN_START] = (__u64)kernel_random() * up->config->port_count >> 32;
	skb->cb[CB_SCAN_DONE] = 0;
	skb->cb[CB_SCAN_RUNS] = 0;
	return tc_allocation_failed(skb, allocation);
}

/* Reclaim program. */
INLINE enum reason tc_reclaim_46(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port)
{
	struct applicant applicant = applicant_for(up->config, &up->packet);
	struct scan scan = {.start = skb->cb[CB_SCAN_START], .done = skb->cb[CB_SCAN_DONE]};
	__u32 runs = skb->cb[CB_SCAN_RUNS] + 1;
	enum allocation allocation;

	allocation = reclaim(&applicant, &scan, port);
	if (allocation == ALLOCATED)
		return REASON_TRANSLATED;
	if (allocation == ALLOCATION_NO_FREE && runs >= SCAN_RUNS_MAX)
		return REASON_PORTS_EXHAUSTED;
	skb->cb[CB_SCAN_DONE] = scan.done;
	skb->cb[CB_SCAN_RUNS] = runs;
	return tc_allocation_failed(skb, allocation);
}

/* The whole of an upstream program; both steps are inlined into it. */
INLINE int tc_upstream(struct __sk_buff *skb, port_step find_port, emit_step emit)
{
	struct tc_upstream up;
	__u16 port = 0;
	enum reason reason = tc_admit_46(skb, &up);

	if (!reason)
		reason = find_port(skb, &up, &port);
	if (!reason)
		reason = emit(skb, &up, port);
	return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
}

#endif
