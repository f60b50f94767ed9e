/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC egress of the WAN: the programs every mode has for upstream packets.
 *
 *   entry      what has a port already; the rest climbs a ladder (docs/napt44.md)
 *   allocate   a free port of its own
 *   reclaim    an expired port, SCAN_SLOTS slots a run: of its own, or for the shared pool
 *   share      a shared port for a flow
 *   flow       the flow, once its port has been found
 *   refuse     nothing was left, or the packet is too big: the host is told
 *   hairpin    the packet is for a port of this CE: back into the LAN
 *   error      ICMP errors, about packets from the domain (hook_tc_error_46.h)
 *   fragment   fragments: they follow the first, climb the ladder (first), or wait
 *   first      the ladder's entry for first fragments
 *   pieces     fragments on their way out, and packets that have to be cut
 *   send       payload in a buffer, piece by piece
 *   abandon    first fragments that are dropped on the ladder
 *   sweep      releases expired flows, then hands the packet back to entry
 *
 * Each begins by reading the packet again: a tail call takes nothing along but the packet and
 * its control block, which holds where on the ladder it is.
 */
#ifndef MAPXDP_HOOK_TC_46_H
#define MAPXDP_HOOK_TC_46_H

#include "hook_tc.h"
#include "hook_tc_learn.h"
#include "sweep.h"
#include "translate46.h"

/* The kernel allows 33 tail calls for a packet; some are left to the programs around the
 * ladder. What takes more runs than these is left to the next packet. */
enum {
	RUNS_MAX = 22,
	RUNS_OF_RETRY = 4,
	SEARCH_RUNS_MAX = 17, /* for a shared port: all of 1024 */
};

/* Where a packet is on the ladder. */
enum ladder {
	LADDER_SWEPT = 1,
	LADDER_LIMITED = 2,  /* a limit of the host stood in the way */
	LADDER_PRESSURE = 4, /* closing mappings make room */
	LADDER_FOR_POOL = 8, /* reclaim for the shared pool, not for the applicant */
	LADDER_SCAN = 16,    /* the search for a shared port has begun */
	LADDER_FLOWS_FULL = 32,
	LADDER_OWN = 64,	 /* the applicant may have a port of its own */
	LADDER_TRADE = 256,	 /* reclaim of a port of its own: its host has to give one back */
	LADDER_FREE_TOO = 512,	 /* reclaim may take free ports */
	LADDER_INDEX_SHIFT = 16, /* enum protocol_index, for reclaim */
	LADDER_JOINED = 128,	 /* a place is kept on the port in CB_VALUE */
};

/* What a new reclaim keeps. */
#define LADDER_KEPT                                                                                \
	(LADDER_SWEPT | LADDER_LIMITED | LADDER_PRESSURE | LADDER_FLOWS_FULL | LADDER_OWN)

/* What the programs of a mode have in common: a packet, and what it will count as. */
struct tc_upstream {
	const struct config *config;
	struct upstream packet;
	__u32 packets;
	__u32 bytes;
};

/* Whether the packet is ours, by its IPv4 header. */
INLINE enum reason tc_admit_ipv4_46(struct __sk_buff *skb, struct tc_upstream *up)
{
	up->config = active_config();
	up->packets = 1;
	up->packet.ipv4.is_fragment = 0;
	up->bytes = tc_network_length(skb);
	if (skb->protocol != net16(ETHERTYPE_IPV4))
		return REASON_NOT_IPV4;
	if (tc_is_of_vlan(skb))
		return REASON_VLAN_TAGGED;
	tc_pull_headers(skb);
	return admit_ipv4_46(up->config, tc_data(skb), tc_end(skb), L2_LENGTH, up->bytes,
			     &up->packet.ipv4);
}

/* Whether it is sound, and not too big. */
INLINE enum reason tc_admit_transport_46(struct __sk_buff *skb, struct tc_upstream *up)
{
	enum reason reason = admit_transport_46(up->config, tc_data(skb), tc_end(skb), &up->packet);

	if (reason)
		return reason;
	up->packets =
		tc_segments(skb, up->packet.transport.offset + up->packet.transport.header_length);
	if (!fits_46(up->config, &up->packet, skb->gso_size))
		return REASON_TOO_BIG;
	return REASON_TRANSLATED;
}

INLINE enum reason tc_admit_46(struct __sk_buff *skb, struct tc_upstream *up)
{
	enum reason reason = tc_admit_ipv4_46(skb, up);

	return reason ? reason : tc_admit_transport_46(skb, up);
}

/* How a program gets the port of a packet: the only step in which they differ. */
typedef enum reason (*port_step)(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port);

/* How a mode turns the packet into IPv6 and writes it. */
typedef enum reason (*emit_step)(struct __sk_buff *skb, const struct tc_upstream *up, __u16 port);

INLINE enum reason tc_refuse(struct __sk_buff *skb, enum reason reason)
{
	skb->cb[CB_VALUE] = reason;
	return tc_continue(skb, PROGRAM_REFUSE);
}

/* Nothing was found on any step. Remembered, unless the table of flows is to blame. */
INLINE enum reason tc_refuse_all(struct __sk_buff *skb, const struct applicant *applicant)
{
	__u32 ladder = skb->cb[CB_LADDER];

	if (ladder & LADDER_LIMITED) {
		set_gate(applicant, applicant->endpoint.ipv4);
		return tc_refuse(skb, REASON_HOST_LIMIT);
	}
	if (ladder & LADDER_FLOWS_FULL)
		return tc_refuse(skb, REASON_FLOWS_FULL);
	set_gate(applicant, 0);
	return tc_refuse(skb, REASON_PORTS_EXHAUSTED);
}

/* True while so many more tail calls may follow. */
INLINE _Bool tc_may_run(struct __sk_buff *skb, __u32 runs)
{
	skb->cb[CB_RUNS] += runs;
	return skb->cb[CB_RUNS] <= RUNS_MAX;
}

/* Another CPU was faster: from the beginning. */
INLINE enum reason tc_retry(struct __sk_buff *skb)
{
	count_event(DIRECTION_46, REASON_ALLOCATION_RETRIED);
	if (!tc_may_run(skb, RUNS_OF_RETRY))
		return REASON_ALLOCATION_CONTENDED;
	skb->cb[CB_LADDER] &= LADDER_SWEPT;
	return tc_continue(skb, PROGRAM_ENTRY);
}

/* `for_pool`: the port will be shared, else it is for the applicant alone. */
INLINE enum reason tc_begin_reclaim(struct __sk_buff *skb, const struct applicant *applicant,
				    const struct allowance *allowance, _Bool for_pool)
{
	__u32 ladder = skb->cb[CB_LADDER] & LADDER_KEPT;

	if (for_pool)
		ladder |= LADDER_FOR_POOL | (allowance->pool ? LADDER_FREE_TOO : 0);
	else
		ladder |= (allowance->free_own ? LADDER_FREE_TOO : 0) |
			  (allowance->any_own ? 0 : LADDER_TRADE);
	skb->cb[CB_LADDER] = ladder | (__u32)applicant->endpoint.protocol << LADDER_INDEX_SHIFT;
	skb->cb[CB_POSITION] = random_position(applicant->config->port_count);
	skb->cb[CB_DONE] = 0;
	skb->cb[CB_VALUE] = applicant->endpoint.ipv4;
	return tc_continue(skb, PROGRAM_RECLAIM);
}

INLINE enum reason tc_begin_share(struct __sk_buff *skb)
{
	skb->cb[CB_LADDER] &= ~(__u32)LADDER_SCAN;
	return tc_continue(skb, PROGRAM_SHARE);
}

/* The last step: once more, with closing mappings counted as expired, where that is allowed. */
INLINE enum reason tc_under_pressure(struct __sk_buff *skb, const struct applicant *applicant)
{
	struct allowance allowance = allowance_of(applicant);

	if (!applicant->config->early_reclaim || skb->cb[CB_LADDER] & LADDER_PRESSURE)
		return tc_refuse_all(skb, applicant);
	skb->cb[CB_LADDER] |= LADDER_PRESSURE;
	return tc_begin_reclaim(skb, applicant, &allowance, !(skb->cb[CB_LADDER] & LADDER_OWN));
}

/* Entry program: the port of a mapping there is, or the one the packet already has. */
INLINE enum reason tc_port_46(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port)
{
	struct applicant applicant;
	_Bool shared_first;

	if (up->config->napt44 == NAPT44_NONE) {
		*port = up->packet.transport.source_port;
		return check_source(up->config, &up->packet);
	}
	if (up->config->napt44 == NAPT44_NETFILTER)
		return real_port_46(up->config, &up->packet, port);
	applicant = applicant_for(up->config, &up->packet);
	if (sweep_is_due(applicant.now) && !(skb->cb[CB_LADDER] & LADDER_SWEPT)) {
		skb->cb[CB_LADDER] |= LADDER_SWEPT;
		return tc_continue(skb, PROGRAM_SWEEP);
	}
	shared_first = is_shared_first(&applicant);
	if (known_port(&applicant, shared_first, port))
		return REASON_TRANSLATED;
	if (!may_begin(&up->packet.transport))
		return REASON_NO_MAPPING;
	if (applicant.endpoint.protocol == INDEX_TCP && !up->config->pick_up &&
	    !is_opening(&up->packet.transport))
		return REASON_TCP_NOT_OPENING;
	return tc_continue(skb, shared_first ? PROGRAM_SHARE : PROGRAM_ALLOCATE);
}

/* Allocate program. */
INLINE enum reason tc_allocate_46(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port)
{
	struct applicant applicant = applicant_for(up->config, &up->packet);
	struct allowance allowance = allowance_of(&applicant);

	if (allowance.free_own) {
		switch (allocate(&applicant, port)) {
		case ALLOCATED:
			return REASON_TRANSLATED;
		case ALLOCATION_RETRY:
			return tc_retry(skb);
		case ALLOCATION_INDEX_FULL:
			return REASON_MAPPING_INDEX_FULL;
		default:
			break;
		}
	} else if (allowance.some_free || !allowance.any_own) {
		skb->cb[CB_LADDER] |= LADDER_LIMITED;
	}
	skb->cb[CB_LADDER] |= LADDER_OWN;
	if (!known_exhausted(applicant.endpoint.protocol, applicant.now))
		return tc_begin_reclaim(skb, &applicant, &allowance, 0);
	return may_share(&applicant) ? tc_begin_share(skb) : tc_refuse_all(skb, &applicant);
}

/* A slot has been taken from its expired owner. */
INLINE enum reason tc_reclaimed(struct __sk_buff *skb, const struct applicant *applicant,
				__u32 position, __u16 *port)
{
	struct mapping *slot;

	if (skb->cb[CB_LADDER] & LADDER_FOR_POOL) {
		note_shared(applicant->endpoint.protocol, position);
		skb->cb[CB_POSITION] = position;
		skb->cb[CB_DONE] = 0;
		skb->cb[CB_LADDER] |= LADDER_SCAN;
		return tc_continue(skb, PROGRAM_SHARE);
	}
	slot = slot_at(applicant->endpoint.protocol * SLOTS + position);
	if (!slot)
		return REASON_PROGRAM_MISSING;
	switch (establish(applicant, slot, position, port)) {
	case ALLOCATED:
		return REASON_TRANSLATED;
	case ALLOCATION_RETRY:
		return tc_retry(skb);
	default:
		return REASON_MAPPING_INDEX_FULL;
	}
}

/* A host at its limit had no closing port to give back: another's may become shared for its flow.
 * A port is not taken for a flow that cannot be. */
INLINE _Bool tc_may_take_from_others(struct __sk_buff *skb, const struct applicant *applicant,
				     const struct allowance *allowance)
{
	__u32 limited = LADDER_PRESSURE | LADDER_TRADE;

	return (skb->cb[CB_LADDER] & limited) == limited && allowance->flow &&
	       READ_ONCE(the_pool()->flow_count) < FLOWS &&
	       !known_exhausted(applicant->endpoint.protocol, applicant->now) && tc_may_run(skb, 1);
}

/* No slot has expired. */
INLINE enum reason tc_not_reclaimed(struct __sk_buff *skb, const struct applicant *applicant)
{
	struct allowance allowance = allowance_of(applicant);
	__u32 ladder = skb->cb[CB_LADDER];

	if (!(ladder & LADDER_TRADE) &&
	    (ladder & LADDER_PRESSURE || !applicant->config->early_reclaim))
		note_exhausted(applicant->endpoint.protocol, applicant->now);
	if (may_share(applicant) && tc_may_take_from_others(skb, applicant, &allowance))
		return tc_begin_reclaim(skb, applicant, &allowance, 1);
	if (may_share(applicant) && (ladder & LADDER_PRESSURE || !(ladder & LADDER_FOR_POOL)))
		return tc_begin_share(skb);
	return tc_under_pressure(skb, applicant);
}

/* The search of the reclaim program, before it reads the packet: the verifier follows a loop once
 * for each way that leads to it. What the search needs is in the control block, what it finds
 * goes there. */
INLINE void tc_search(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	__u32 ladder = skb->cb[CB_LADDER];
	struct scan scan = {
		.config = config,
		.index = ladder >> LADDER_INDEX_SHIFT,
		.start = skb->cb[CB_POSITION],
		.done = skb->cb[CB_DONE],
		.now = current_tick(config),
		.host = skb->cb[CB_VALUE],
		.free_too = ladder / LADDER_FREE_TOO & 1,
		.own_only = ladder / LADDER_TRADE & 1,
		.pressure = ladder / LADDER_PRESSURE & 1,
	};

	skb->cb[CB_VALUE] = find_expired_slot(&scan);
	skb->cb[CB_DONE] = scan.done;
}

/* Reclaim program, after the search. */
INLINE enum reason tc_reclaim_46(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port)
{
	struct applicant applicant = applicant_for(up->config, &up->packet);
	__u32 ladder = skb->cb[CB_LADDER];
	__u32 position = skb->cb[CB_VALUE];
	__u64 wanted = ladder & LADDER_FOR_POOL ? SHARED_OWNER
						: owner_word(&applicant.endpoint, SLOT_CLAIMED);

	if (position < SLOTS && take_over(&applicant, position, wanted, ladder & LADDER_FREE_TOO,
					  ladder & LADDER_PRESSURE ? PRESSURE_FULL : PRESSURE_NONE))
		return tc_reclaimed(skb, &applicant, position, port);
	if (position >= SLOTS && skb->cb[CB_DONE] >= up->config->port_count)
		return tc_not_reclaimed(skb, &applicant);
	if (!tc_may_run(skb, 1)) {
		note_exhausted(applicant.endpoint.protocol, applicant.now);
		return tc_refuse(skb, REASON_PORTS_EXHAUSTED);
	}
	skb->cb[CB_VALUE] = applicant.endpoint.ipv4;
	return tc_continue(skb, PROGRAM_RECLAIM);
}

/* No shared port is free for the peer: one more port is shared, if there is one to be had.
 * NOWHERE: another step of the ladder has the packet. */
INLINE enum reason tc_grow_pool(struct __sk_buff *skb, const struct applicant *applicant,
				const struct allowance *allowance, __u32 *position)
{
	if (skb->cb[CB_LADDER] & LADDER_PRESSURE)
		return tc_refuse_all(skb, applicant);
	if (allowance->pool) {
		*position = find_free_slot(applicant->endpoint.protocol,
					   applicant->config->port_count, home_of(applicant));
		if (*position < SLOTS) {
			*position = share_free_port(applicant, *position);
			return *position < SLOTS ? REASON_TRANSLATED : tc_retry(skb);
		}
	} else if (allowance->some_free) {
		skb->cb[CB_LADDER] |= LADDER_LIMITED;
	}
	if (known_exhausted(applicant->endpoint.protocol, applicant->now))
		return tc_under_pressure(skb, applicant);
	return tc_begin_reclaim(skb, applicant, allowance, 1);
}

/* The flow that stands in the way of the applicant's own: its former one, expired. */
INLINE __u32 stale_flow(const struct applicant *applicant)
{
	return flow_lookup(flow_key_46(&applicant->endpoint, applicant->peer));
}

/* A flow is released to make room. Its port must not be freed with it if it is the place of the
 * new one: that place is kept first. */
INLINE enum reason tc_make_room(struct __sk_buff *skb, const struct applicant *applicant,
				const struct place *place, enum pressure pressure)
{
	__u32 index = applicant->endpoint.protocol;
	_Bool joined = place->position < SLOTS && join_slot(index * SLOTS + place->position, index);

	release_flow(applicant->config, place->victim, applicant->now, pressure);
	if (joined) {
		skb->cb[CB_LADDER] |= LADDER_JOINED;
		return REASON_TRANSLATED;
	}
	if (!tc_may_run(skb, 1))
		return REASON_ALLOCATION_CONTENDED;
	return tc_continue(skb, PROGRAM_SHARE);
}

/* Where the flow goes, or what has to be done first. */
INLINE enum reason tc_find_place(struct __sk_buff *skb, const struct applicant *applicant,
				 const struct allowance *allowance, __u32 *position)
{
	__u32 words = (applicant->config->port_count + WORD_BITS - 1) / WORD_BITS;
	__u32 ladder = skb->cb[CB_LADDER];
	__u32 home = home_of(applicant);
	struct share_scan scan = {
		.position = ladder & LADDER_SCAN ? skb->cb[CB_POSITION] : home,
		.words_done = ladder & LADDER_SCAN ? skb->cb[CB_DONE] : 0,
		.pressure = ladder & LADDER_PRESSURE ? PRESSURE_FULL : PRESSURE_NONE,
	};
	struct place place = {.position = NOWHERE, .victim = stale_flow(applicant)};

	if (place.victim == NOWHERE) {
		if (!(ladder & LADDER_SCAN) && allowance->pool && pool_below_target(applicant) &&
		    is_marked_free(applicant->endpoint.protocol, home)) {
			*position = share_free_port(applicant, home);
			return *position < SLOTS ? REASON_TRANSLATED : tc_retry(skb);
		}
		place = find_shared_port(applicant, &scan);
	}
	skb->cb[CB_POSITION] = scan.position;
	skb->cb[CB_DONE] = scan.words_done;
	skb->cb[CB_LADDER] |= LADDER_SCAN;
	*position = place.position;
	if (place.victim != NOWHERE)
		return tc_make_room(skb, applicant, &place, scan.pressure);
	if (*position < SLOTS)
		return REASON_TRANSLATED;
	if (scan.words_done <= words && skb->cb[CB_RUNS] < SEARCH_RUNS_MAX) {
		skb->cb[CB_RUNS]++;
		return tc_continue(skb, PROGRAM_SHARE);
	}
	return tc_grow_pool(skb, applicant, allowance, position);
}

/* There can be no flow, for the reason given: but a port of its own, perhaps. */
INLINE enum reason tc_no_flow(struct __sk_buff *skb, const struct applicant *applicant,
			      enum ladder why)
{
	skb->cb[CB_LADDER] |= why;
	if (skb->cb[CB_LADDER] & LADDER_OWN)
		return tc_under_pressure(skb, applicant);
	return tc_refuse_all(skb, applicant);
}

/* Share program. */
INLINE enum reason tc_share_46(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port)
{
	struct applicant applicant = applicant_for(up->config, &up->packet);
	struct allowance allowance = allowance_of(&applicant);
	__u32 position = NOWHERE;
	enum reason reason;

	(void)port; /* another program gives it */
	if (is_gated(&applicant, applicant.endpoint.ipv4))
		return tc_refuse(skb, REASON_HOST_LIMIT);
	if (!allowance.flow)
		return tc_no_flow(skb, &applicant, LADDER_LIMITED);
	if (READ_ONCE(the_pool()->flow_count) >= FLOWS)
		return tc_no_flow(skb, &applicant, LADDER_FLOWS_FULL);
	/* What stands in the way of everybody comes after what does of this host. */
	if (is_gated(&applicant, 0))
		return tc_refuse(skb, skb->cb[CB_LADDER] & LADDER_LIMITED ? REASON_HOST_LIMIT
									  : REASON_PORTS_EXHAUSTED);
	reason = tc_find_place(skb, &applicant, &allowance, &position);
	if (reason)
		return reason;
	skb->cb[CB_VALUE] = position;
	return tc_continue(skb, PROGRAM_FLOW);
}

/* Flow program. */
INLINE enum reason tc_flow_46(struct __sk_buff *skb, const struct tc_upstream *up, __u16 *port)
{
	struct applicant applicant = applicant_for(up->config, &up->packet);

	_Bool joined = skb->cb[CB_LADDER] & LADDER_JOINED;

	switch (establish_flow(&applicant, find_free_flow(), skb->cb[CB_VALUE] & PORT_MASK, joined,
			       port)) {
	case ALLOCATED:
		return REASON_TRANSLATED;
	case ALLOCATION_RETRY:
		return tc_retry(skb);
	case ALLOCATION_FLOWS_FULL:
		return tc_no_flow(skb, &applicant, LADDER_FLOWS_FULL);
	default:
		return REASON_MAPPING_INDEX_FULL;
	}
}

/* What is not for the fast path, or has to be answered, goes to a program of its own. */
INLINE enum reason tc_detour_46(struct __sk_buff *skb, const struct config *config,
				enum reason reason)
{
	switch (reason) {
	case REASON_ICMP_NOT_CARRIED:
		return tc_continue(skb, PROGRAM_ERROR);
	case REASON_SOURCE_ROUTE:
		return tc_continue(skb, PROGRAM_OPTIONS);
	case REASON_UDP_CHECKSUM_ZERO:
		return config->compute_udp_checksum ? tc_continue(skb, PROGRAM_CHECKSUM) : reason;
	case REASON_PROTOCOL_WITHOUT_PORTS:
		return config->napt44 == NAPT44_NONE ? tc_continue(skb, PROGRAM_OTHER) : reason;
	case REASON_TOO_BIG:
		return tc_refuse(skb, reason);
	default:
		return reason;
	}
}

/* A program that is told the port of the packet, or why it is dropped. */
INLINE enum reason tc_continue_with(struct __sk_buff *skb, enum program_index program, __u32 value)
{
	skb->cb[CB_VALUE] = value;
	return tc_continue(skb, program);
}

/* The whole of an upstream program; both steps are inlined into it. */
INLINE int tc_upstream(struct __sk_buff *skb, port_step find_port, emit_step emit)
{
	struct tc_upstream up;
	__u16 port = 0;
	enum reason reason = tc_admit_46(skb, &up);

	if (!reason)
		reason = find_port(skb, &up, &port);
	/* Fragments do not turn around: the others would not find their way. */
	if (!reason && is_hairpin(up.config, &up.packet))
		reason = up.packet.transport.is_first_fragment
				 ? REASON_FRAGMENT_INVALID
				 : tc_continue_with(skb, PROGRAM_HAIRPIN, port);
	if (!reason && (up.packet.transport.is_first_fragment ||
			has_to_be_cut(up.config, &up.packet, skb->gso_size)))
		reason = tc_continue_with(skb, PROGRAM_PIECES, port);
	if (!reason)
		reason = emit(skb, &up, port);
	else if (up.packet.ipv4.is_fragment)
		reason = tc_continue_with(skb, PROGRAM_ABANDON, reason);
	return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
}

/* The entry program: as the others, but it leaves fragments, and what is not for the fast path, to
 * programs of their own. */
INLINE int tc_enter_46(struct __sk_buff *skb, emit_step emit)
{
	struct tc_upstream up;
	__u16 port = 0;
	enum reason reason;

	/* Has been here, in the end: it is IPv6 by now, and counted. */
	if (skb->tc_index == TOOK_SHORTCUT)
		return TC_ACT_UNSPEC;
	reason = tc_admit_ipv4_46(skb, &up);
	if (!reason && up.packet.ipv4.is_fragment)
		reason = tc_continue(skb, PROGRAM_FRAGMENT);
	/* Known to the compiler, which leaves out what is for fragments. */
	up.packet.ipv4.is_fragment = 0;
	if (!reason)
		reason = tc_admit_transport_46(skb, &up);
	reason = reason ? tc_detour_46(skb, up.config, reason) : tc_port_46(skb, &up, &port);
	if (!reason && is_hairpin(up.config, &up.packet))
		reason = tc_continue_with(skb, PROGRAM_HAIRPIN, port);
	if (!reason && has_to_be_cut(up.config, &up.packet, skb->gso_size))
		reason = tc_continue_with(skb, PROGRAM_PIECES, port);
	if (!reason) {
		learn_46(skb, up.config, &up.packet, port);
		reason = emit(skb, &up, port);
	}
	return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
}

/* Sweep program. */
INLINE int tc_sweep(struct __sk_buff *skb)
{
	const struct config *config = active_config();

	sweep(config, current_tick(config));
	return tc_finish(DIRECTION_46, tc_continue(skb, PROGRAM_ENTRY), 1, tc_network_length(skb));
}

#endif
