/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC egress of the WAN: fragments on their way out, and packets that are too long.
 *
 * A fragment that fits is changed as whole packets are. What does not, and datagrams that were
 * kept, get new transport headers here, go into a buffer, and are left to the send program. */
#ifndef MAPXDP_HOOK_TC_PIECES_46_H
#define MAPXDP_HOOK_TC_PIECES_46_H

#include "hook_tc_fragment_46.h"

/* The headers of a first fragment or a whole packet, and what changes in its transport header. */
typedef void (*depart_step)(const struct __sk_buff *skb, const struct tc_upstream *up, __u16 port,
			    struct pieces *out, struct transport_change *change);
/* The headers of a later fragment. */
typedef void (*follow_step)(const struct tc_upstream *up, const struct fragment_entry *entry,
			    struct pieces *out);

/* What the modes do differently. */
struct mode_46 {
	depart_step depart;
	follow_step follow;
};

/* CEs that share an address must not choose the same identification for datagrams to the same
 * host: each takes it from its own ports (RFC 7599 section 10.3). */
INLINE __u16 new_identification(const struct config *config, __u16 old)
{
	struct port_set set = port_set_of(config);

	if (config->napt44 != NAPT44_BPF || !config->psid_length)
		return old;
	return port_of_slot(&set, random_position(config->port_count));
}

/* A first fragment was admitted, and gets out: the others may follow. */
INLINE void remember_46(const struct tc_fragment *fragment, const struct pieces *out)
{
	const struct ipv6_header *ipv6 = (const void *)out->ipv6;
	const struct ipv4_header *ipv4 = (const void *)out->ipv4;
	struct fragment_entry *entry = &fragment->work->entry;

	*entry = (struct fragment_entry){
		.source = ipv4->source,
		.tick = fragment->now,
		.identification = out->identification,
		.fate = FATE_FOLLOW,
	};
	__builtin_memcpy(entry->far_end, ipv6->destination, sizeof(entry->far_end));
	fragments_remember(fragment->work);
}

/* One packet to one packet. */
INLINE enum reason tc_send_as_it_is(struct __sk_buff *skb, const struct pieces *out)
{
	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV6), 0) ||
	    kernel_skb_adjust_room(skb, headers_of(out->form) - sizeof(struct ipv6_header),
				   BPF_ADJ_ROOM_MAC, 0))
		return REASON_KERNEL_REFUSED;
	tc_write_piece(skb, out, out->form, out->offset, out->length, out->more);
	tc_write_ether_type(skb, ETHERTYPE_IPV6);
	return REASON_TRANSLATED;
}

INLINE __u64 pseudo_header_of_ipv4(const struct ipv4_header *header, __u32 length)
{
	return (__u64)header->source + header->destination + net16(length) +
	       net16(header->protocol);
}

INLINE __u64 new_pseudo_header(const struct tc_upstream *up, const struct pieces *out)
{
	const struct ipv6_header *ipv6 = (const void *)out->ipv6;

	if (!up->config->dmr_length)
		return pseudo_header_of_ipv4((const void *)out->ipv4, out->length);
	return sum_ipv6(ipv6->source) + sum_ipv6(ipv6->destination) + net16(out->length) +
	       net16(ipv6->next_header);
}

/* A checksum that a network card was to fill in, while the packet still was whole: the field
 * holds the sum of the pseudo header. */
INLINE void tc_complete_checksum(struct __sk_buff *skb, struct datagram *datagram,
				 const struct tc_upstream *up, const struct pieces *out)
{
	const struct transport *transport = &up->packet.transport;
	__u64 old = pseudo_header_of_ipv4(&up->packet.ipv4.header, out->length);
	__u32 at = checksum_offset(transport) - transport->offset;
	__u16 *field = (__u16 *)&datagram->payload[at & 31];
	__u16 checksum;

	if (transport->index == INDEX_ICMP || transport->checksum != sum_fold16(old))
		return;
	*field = sum_fold16(new_pseudo_header(up, out));
	checksum = ~sum_fold16(sum_payload(datagram, out->length));
	if (!checksum && transport->index == INDEX_UDP)
		checksum = 0xffff;
	*field = checksum;
	tc_write(skb, checksum_offset(transport), &checksum, sizeof(checksum));
}

/* Takes off what the headers of a pending checksum were: with them goes the kernel's knowledge
 * that it is pending (skb_postpull_rcsum). All of the packet is written anew anyway. */
INLINE long tc_forget_pending_checksum(struct __sk_buff *skb)
{
	return kernel_skb_adjust_room(skb, -(__s32)sizeof(struct ipv6_header), BPF_ADJ_ROOM_MAC, 0);
}

/* The IPv6 packet is what is cut: the inner IPv4 header belongs to its payload. */
INLINE long tc_store_inner(struct __sk_buff *skb, const struct config *config,
			   struct datagram *datagram, struct pieces *out)
{
	tc_write(skb, L2_LENGTH, out->ipv4, sizeof(out->ipv4));
	out->form = PIECE_IPV6_FRAGMENT;
	out->offset = 0;
	out->more = 0;
	out->length += sizeof(out->ipv4);
	out->limit = config->ipv6_mtu - headers_of(PIECE_IPV6_FRAGMENT);
	out->identification = kernel_random();
	return tc_store_payload(skb, datagram, L2_LENGTH, 0, out->length);
}

/* Copies what is to be cut into a buffer. */
INLINE long tc_store_all(struct __sk_buff *skb, const struct tc_upstream *up,
			 const struct tc_fragment *fragment, struct datagram *datagram,
			 struct pieces *out)
{
	_Bool is_whole = !up->packet.ipv4.is_fragment;

	if (out->length > PIECE_MAX - sizeof(out->ipv4) ||
	    tc_store_payload(skb, datagram, fragment->part.payload, 0, out->length))
		return -1;
	if (is_whole)
		tc_complete_checksum(skb, datagram, up, out);
	if (out->form == PIECE_ENCAPSULATED && !up->config->fragment_inner &&
	    tc_store_inner(skb, up->config, datagram, out))
		return -1;
	return is_whole ? tc_forget_pending_checksum(skb) : 0;
}

INLINE enum reason tc_cut(struct __sk_buff *skb, const struct tc_upstream *up,
			  const struct tc_fragment *fragment, struct pieces *out)
{
	__u32 buffer;
	struct datagram *datagram = begin_cutting(fragment->now, DIRECTION_46, &buffer);

	if (!datagram)
		return REASON_FRAGMENTS_FULL;
	out->is_cut = 1;
	if (!tc_store_all(skb, up, fragment, datagram, out))
		return tc_send_from(skb, datagram, buffer, PROGRAM_SEND, out);
	publish_use(datagram, DATAGRAM_FREE);
	return REASON_KERNEL_REFUSED;
}

/* A first fragment or a whole packet: its headers, and its transport header is changed. */
INLINE enum reason tc_depart(struct __sk_buff *skb, struct tc_upstream *up,
			     const struct tc_fragment *fragment, struct pieces *out,
			     struct mode_46 mode)
{
	const struct fragment_entry *entry = fragments_lookup(&fragment->work->key);
	struct transport_change change = {};
	enum reason reason = tc_admit_transport_46(skb, up);

	if (reason)
		return reason;
	out->identification = new_identification(up->config, fragment->part.identification);
	/* The first fragment has come twice. */
	if (entry && fragment->fate == FATE_FOLLOW)
		out->identification = entry->identification;
	/* ICMPv6 sums up the length of all. */
	up->packet.ipv4.total_length = sizeof(struct ipv4_header) + out->length;
	up->packet.transport.keeps_mss = 1;
	mode.depart(skb, up, skb->cb[CB_VALUE], out, &change);
	if (tc_make_writable(skb, &up->packet.transport))
		return REASON_KERNEL_REFUSED;
	tc_write_transport(skb, DIRECTION_46, &up->packet.transport, &change);
	if (fragment->part.more && fragment->fate != FATE_COMPLETE)
		remember_46(fragment, out);
	return REASON_TRANSLATED;
}

INLINE enum reason tc_follow(const struct tc_upstream *up, const struct tc_fragment *fragment,
			     struct pieces *out, struct mode_46 mode)
{
	const struct fragment_entry *entry = fragments_lookup(&fragment->work->key);

	if (!entry || fragment->fate != FATE_FOLLOW)
		return REASON_FRAGMENT_INVALID;
	out->identification = entry->identification;
	mode.follow(up, entry, out);
	return REASON_TRANSLATED;
}

INLINE enum reason tc_pieces(struct __sk_buff *skb, struct tc_upstream *up,
			     const struct tc_fragment *fragment, struct mode_46 mode)
{
	struct pieces *out = &fragment->work->pieces;
	struct datagram *datagram = 0;
	enum reason reason;

	out->offset = fragment->part.offset;
	out->length = fragment->part.length;
	out->more = fragment->part.more;
	out->bytes = up->bytes;
	out->is_cut = 0;
	if (fragment->fate == FATE_COMPLETE) {
		datagram = take_datagram(&fragment->work->key, fragment->buffer, DATAGRAM_COMPLETE);
		if (!datagram)
			return REASON_FRAGMENTS_FULL;
		out->length = datagram->total;
		out->more = 0;
	}
	if (is_later_fragment(&up->packet.ipv4.header))
		reason = tc_follow(up, fragment, out, mode);
	else
		reason = tc_depart(skb, up, fragment, out, mode);
	if (datagram && !reason)
		return tc_send_complete(skb, fragment, datagram, PROGRAM_SEND, out);
	if (datagram)
		end_datagram(datagram);
	if (reason)
		return reason;
	return out->length <= out->limit ? tc_send_as_it_is(skb, out)
					 : tc_cut(skb, up, fragment, out);
}

/* Pieces program. */
INLINE int tc_pieces_46(struct __sk_buff *skb, struct mode_46 mode)
{
	struct tc_upstream up = {};
	struct tc_fragment fragment = {};
	enum reason reason = tc_read_fragment_46(skb, &up, &fragment);

	/* The identification of a whole packet means nothing. */
	if (!reason && !up.packet.ipv4.is_fragment)
		fragment.fate = FATE_NONE;
	if (!reason)
		reason = tc_pieces(skb, &up, &fragment, mode);
	return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
}

#endif
