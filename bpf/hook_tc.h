/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The TC hook: the geometry of a __sk_buff, writing into it, and verdicts.
 *
 * Together with the .bpf.c files, the only place that knows which hook it runs in. L2_LENGTH
 * is 14 on Ethernet and 0 on links without a link-layer header.
 */
#ifndef MAPXDP_HOOK_TC_H
#define MAPXDP_HOOK_TC_H

#include "byteorder.h"
#include "config.h"
#include "counters.h"
#include "headers.h"
#include "parse.h"
#include "portable.h"
#include "transport_change.h"

enum { VLAN_ID_MASK = 0xfff };

/* The words that a tail call takes along beside the packet. */
enum control_block { CB_POSITION, CB_DONE, CB_RUNS, CB_LADDER, CB_VALUE };

/* Does not return where another program takes over. */
INLINE enum reason tc_continue(struct __sk_buff *skb, enum program_index program)
{
	kernel_tail_call(skb, MAP(programs), program);
	return REASON_PROGRAM_MISSING;
}

INLINE const void *tc_data(const struct __sk_buff *skb)
{
	return (const void *)(long)skb->data;
}

INLINE const void *tc_end(const struct __sk_buff *skb)
{
	return (const void *)(long)skb->data_end;
}

/* Bytes from the network header to the end of the frame. */
INLINE __u32 tc_network_length(const struct __sk_buff *skb)
{
	return skb->len - L2_LENGTH;
}

/* True for a frame of a VLAN on top of the interface: not this link's. A priority tag (VLAN 0)
 * is. */
INLINE _Bool tc_is_of_vlan(const struct __sk_buff *skb)
{
	return skb->vlan_present && (skb->vlan_tci & VLAN_ID_MASK);
}

/* Lets the headers be read directly, wherever the kernel keeps them. Called before any pointer
 * into the packet is made. */
INLINE void tc_pull_headers(struct __sk_buff *skb)
{
	__u32 wanted = L2_LENGTH + HEADERS_MAX;
	__u32 linear = skb->data_end - skb->data;

	if (wanted > skb->len)
		wanted = skb->len;
	if (linear < wanted)
		kernel_skb_pull_data(skb, wanted);
}

/* Packets on the wire: the pieces of a segmented one, whose headers take `headers` bytes. */
INLINE __u32 tc_segments(const struct __sk_buff *skb, __u32 headers)
{
	__u32 size = skb->gso_size;

	if (!size)
		return 1;
	if (skb->gso_segs)
		return skb->gso_segs;
	return (skb->len - headers + size - 1) / size;
}

/* The one exit: counts, and turns a reason into what TC understands. Whatever is not dropped
 * goes on to the next filter. */
INLINE int tc_finish(enum direction direction, enum reason reason, __u32 packets, __u32 bytes)
{
	count(direction, reason, packets, bytes);
	return class_of(reason) == CLASS_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* What the two downstream programs have in common: what a packet will count as. */
struct tc_downstream {
	const struct config *config;
	__u32 packets;
	__u32 bytes;
};

/* How a mode reads an IPv6 packet, turns it into IPv4 and writes it. `bytes` is the length of
 * the former, and becomes that of the latter. */
typedef enum reason (*downstream_step)(struct __sk_buff *skb, struct tc_downstream *down);

/* ROUTING_HEADER, SOURCE_INCONSISTENT: the packet as it came; `pointer` is for the former. */
INLINE enum reason tc_refuse_64(struct __sk_buff *skb, enum reason reason, __u32 pointer)
{
	skb->cb[CB_VALUE] = reason;
	skb->cb[CB_POSITION] = pointer;
	return tc_continue(skb, PROGRAM_REFUSE_64);
}

/* MAP-T tells a CE that its addresses and port do not belong together (RFC 7599 section 8.2);
 * MAP-E is silent. */
INLINE enum reason tc_answer_64(struct __sk_buff *skb, const struct config *config,
				enum reason reason)
{
	return reason == REASON_SOURCE_INCONSISTENT && config->dmr_length
		       ? tc_refuse_64(skb, reason, 0)
		       : reason;
}

/* What is not for the fast path goes to a program of its own. */
INLINE enum reason tc_detour_64(struct __sk_buff *skb, const struct config *config,
				enum reason reason)
{
	switch (reason) {
	case REASON_EXTENSION_HEADER:
		return tc_continue(skb, PROGRAM_EXTENSION_64);
	case REASON_FRAGMENT_INVALID:
		return tc_continue(skb, PROGRAM_FRAGMENT_64);
	/* What may be an ICMP error, whoever sent it. */
	case REASON_ICMP_NOT_CARRIED:
	case REASON_SOURCE_OUTSIDE_DOMAIN:
	case REASON_NOT_ENCAPSULATED:
		return tc_continue(skb, PROGRAM_ERROR_64);
	case REASON_PROTOCOL_WITHOUT_PORTS:
		return config->napt44 == NAPT44_NONE ? tc_continue(skb, PROGRAM_OTHER_64) : reason;
	default:
		return tc_answer_64(skb, config, reason);
	}
}

/* Reads the packet and goes the step, which is inlined; `down` is what it counts as. */
INLINE enum reason tc_go_downstream(struct __sk_buff *skb, struct tc_downstream *down,
				    downstream_step step)
{
	down->config = active_config();
	down->packets = 1;
	down->bytes = tc_network_length(skb);
	if (tc_is_of_vlan(skb))
		return REASON_VLAN_TAGGED;
	if (skb->protocol != net16(ETHERTYPE_IPV6))
		return REASON_NOT_IPV6;
	tc_pull_headers(skb);
	return step(skb, down);
}

/* The whole of the downstream entry. */
INLINE int tc_downstream(struct __sk_buff *skb, downstream_step step)
{
	struct tc_downstream down;
	enum reason reason = tc_go_downstream(skb, &down, step);

	if (reason)
		reason = tc_detour_64(skb, down.config, reason);
	return tc_finish(DIRECTION_64, reason, down.packets, down.bytes);
}

/* The whole of a downstream program that the entry hands packets to. */
INLINE int tc_downstream_once(struct __sk_buff *skb, downstream_step step)
{
	struct tc_downstream down;
	enum reason reason = tc_go_downstream(skb, &down, step);

	if (reason)
		reason = tc_answer_64(skb, down.config, reason);
	return tc_finish(DIRECTION_64, reason, down.packets, down.bytes);
}

/* The last question before the point of no return: may the headers be written?
 *
 * A packet can share its head with others, such as what a capture on the interface keeps or
 * what TCP may have to send again, and un-sharing needs memory. Done by the first write it
 * could fail halfway, and a packet with its new checksum and its old port would leave. Done
 * here it fails while the packet is whole. From then on the head is this packet's own: no
 * write can fail for want of memory, and none of them looks at its result. What resizes the
 * packet says for itself whether it could.
 *
 * Pointers into the packet end here. All that is written has been computed before. */
INLINE enum reason tc_make_writable(struct __sk_buff *skb, const struct transport *transport)
{
	if (kernel_skb_pull_data(skb, headers_length(transport)))
		return REASON_KERNEL_REFUSED;
	return REASON_TRANSLATED;
}

INLINE void tc_write(struct __sk_buff *skb, __u32 offset, const void *from, __u32 length)
{
	kernel_skb_store_bytes(skb, offset, from, length, 0);
}

/* A header whose bytes a checksum computed by the network card covers too. */
INLINE void tc_write_header(struct __sk_buff *skb, __u32 offset, const void *from, __u32 length)
{
	kernel_skb_store_bytes(skb, offset, from, length, BPF_F_RECOMPUTE_CSUM);
}

enum { ETHER_TYPE_OFFSET = 12 };

INLINE void tc_write_ether_type(struct __sk_buff *skb, __u16 type)
{
	__be16 ether_type = net16(type);

	if (L2_LENGTH)
		tc_write(skb, ETHER_TYPE_OFFSET, &ether_type, sizeof(ether_type));
}

/* Transport checksum, port, ICMP type and MSS, at the offsets they had when they were read. */
INLINE void tc_write_transport(struct __sk_buff *skb, enum direction direction,
			       const struct transport *transport,
			       const struct transport_change *change)
{
	__u64 udp = change->is_udp ? BPF_F_MARK_MANGLED_0 : 0;

	if (change->pseudo_header)
		kernel_l4_csum_replace(skb, change->checksum_offset, 0, change->pseudo_header,
				       udp | BPF_F_PSEUDO_HDR);
	if (change->data)
		kernel_l4_csum_replace(skb, change->checksum_offset, 0, change->data, udp);
	tc_write(skb, change->port_offset, &change->port, sizeof(change->port));
	if (change->icmp_type != transport->icmp_type)
		tc_write(skb, transport->offset, &change->icmp_type, sizeof(change->icmp_type));
	if (change->mss_offset) {
		tc_write(skb, change->mss_offset, &change->mss, sizeof(change->mss));
		count_event(direction, REASON_MSS_CLAMPED);
	}
}

#endif
