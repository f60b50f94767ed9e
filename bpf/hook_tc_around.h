/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC egress of the WAN: the programs that send a packet back into the LAN, which are the same in
 * every mode. The kernel routes what seems to come in from the WAN. */
#ifndef MAPXDP_HOOK_TC_AROUND_H
#define MAPXDP_HOOK_TC_AROUND_H

#include "hairpin.h"
#include "hook_tc_46.h"
#include "hook_tc_fragment_46.h"
#include "refusal.h"
#include "scratch.h"

/* The frame is the WAN's own: the kernel would ignore one to the gateway's address. */
INLINE int tc_turn_around(struct __sk_buff *skb)
{
	__u8 own[6];

	if (L2_LENGTH) {
		kernel_skb_load_bytes(skb, sizeof(own), own, sizeof(own));
		tc_write(skb, 0, own, sizeof(own));
	}
	return kernel_redirect(skb->ifindex, BPF_F_INGRESS);
}

INLINE void tc_write_hairpin(struct __sk_buff *skb, const struct transport *transport,
			     const struct hairpin *out)
{
	__u64 udp = transport->index == INDEX_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 checksum = checksum_offset(transport);

	if (transport->index != INDEX_UDP || transport->checksum) {
		kernel_l4_csum_replace(skb, checksum, 0, out->pseudo_header,
				       udp | BPF_F_PSEUDO_HDR);
		kernel_l4_csum_replace(skb, checksum, 0, out->ports_change, udp);
	}
	tc_write(skb, transport->offset, out->ports, sizeof(out->ports));
	tc_write(skb, L2_LENGTH, &out->ipv4, sizeof(out->ipv4));
}

/* Hairpin program. */
INLINE int tc_hairpin(struct __sk_buff *skb)
{
	struct tc_upstream up;
	struct endpoint endpoint;
	struct hairpin out;
	__u16 port = skb->cb[CB_VALUE];
	enum reason reason = tc_admit_46(skb, &up);

	if (!reason)
		reason = hairpin_endpoint(up.config, &up.packet, port, &endpoint);
	if (reason)
		return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
	turn_around(up.config, &up.packet, port, &endpoint, &out);
	reason = tc_make_writable(skb, &up.packet.transport);
	if (reason)
		return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
	tc_write_hairpin(skb, &up.packet.transport, &out);
	count(DIRECTION_46, REASON_HAIRPINNED, up.packets, up.bytes);
	return tc_turn_around(skb);
}

/* True for an ICMP error, about which there is never another one. */
INLINE _Bool tc_is_icmp_error(struct __sk_buff *skb, const struct ipv4_header *ipv4)
{
	__u8 type;

	if (ipv4->protocol != PROTOCOL_ICMP)
		return 0;
	return kernel_skb_load_bytes(skb, L2_LENGTH + ipv4_header_length(ipv4), &type, 1) ||
	       reports_an_error(type);
}

/* The packet becomes the ICMP error about it; one of segments is none any more once its tail is
 * cut. False where that is not possible. A checksum that a network card was to fill in stays
 * pending in the quote; nobody reads it there. */
INLINE _Bool tc_become_refusal(struct __sk_buff *skb, const struct tc_upstream *up, enum reason why)
{
	const struct ipv4_view *ipv4 = &up->packet.ipv4;
	__u32 quoted = length_from(QUOTE_MIN, refusal_quote(&ipv4->header));
	struct scratch *scratch = the_scratch();
	struct refusal refusal = {};

	if (!scratch || kernel_skb_load_bytes(skb, L2_LENGTH, scratch, quoted))
		return 0;
	refuse_packet(up->config, why, &ipv4->header, quoted,
		      (__u32)kernel_csum_diff(0, 0, scratch, quoted, 0), &refusal);
	if (kernel_skb_change_tail(skb, L2_LENGTH + quoted, 0) ||
	    kernel_skb_adjust_room(skb, sizeof(refusal), BPF_ADJ_ROOM_MAC, 0))
		return 0;
	tc_write(skb, L2_LENGTH, &refusal, sizeof(refusal));
	return 1;
}

INLINE void note_refused(const struct tc_upstream *up)
{
	struct applicant applicant = applicant_for(up->config, &up->packet);

	count_refused(applicant.endpoint.ipv4);
	log_event(up->config, EVENT_REFUSED, applicant.endpoint, 0, applicant.peer, applicant.now);
}

/* Whether the sender of the packet is told, and can be. */
INLINE _Bool tc_may_tell(struct __sk_buff *skb, const struct tc_upstream *up, enum reason why)
{
	const struct ipv4_view *ipv4 = &up->packet.ipv4;

	return refusal_code(up->config, why) && may_tell(&ipv4->header, why) &&
	       refusal_quote(&ipv4->header) <= ipv4->total_length &&
	       !tc_is_icmp_error(skb, &ipv4->header) &&
	       take_budget(&the_pool()->refusal_budget, current_tick(up->config),
			   up->config->refusals_per_tick);
}

/* Refuse program: counts the packet as what it was refused for, and tells its host. */
INLINE int tc_refuse_and_tell(struct __sk_buff *skb)
{
	enum reason why = skb->cb[CB_VALUE];
	struct tc_upstream up = {};
	enum reason reason = tc_admit_46(skb, &up);

	if (up.packet.ipv4.is_fragment)
		tc_abandon(&up);
	if (is_want_of_ports(why)) {
		if (reason)
			return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
		note_refused(&up);
	}
	count(DIRECTION_46, why, up.packets, up.bytes);
	if (!tc_may_tell(skb, &up, why) || !tc_become_refusal(skb, &up, why))
		return TC_ACT_SHOT;
	count_event(DIRECTION_46, REASON_REFUSAL_SENT);
	return tc_turn_around(skb);
}

#endif
