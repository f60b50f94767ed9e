/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC ingress of a MAP-T CE: IPv6 fragments become IPv4 fragments (RFC 7915 section 5.1.1). */
#ifndef MAPXDP_HOOK_TC_PIECES_MAPT_64_H
#define MAPXDP_HOOK_TC_PIECES_MAPT_64_H

#include "hook_tc_fragment_64.h"

enum { IPV6_FRAGMENT_HEADERS = sizeof(struct ipv6_header) + sizeof(struct ipv6_fragment_header) };

INLINE enum reason tc_read_translated_fragment(const struct __sk_buff *skb,
					       const struct tc_downstream *down,
					       struct ipv6_view *ipv6, struct tc_fragment *fragment)
{
	enum reason reason =
		admit_translated_fragment(down->config, tc_data(skb), tc_end(skb), L2_LENGTH,
					  down->bytes, ipv6, &fragment->part);

	if (reason || is_atomic(&fragment->part))
		return reason;
	key_of_ipv6(ipv6, &fragment->part, &fragment->work->key);
	return tc_seek_fragment_64(down->config, fragment, IPV6_FRAGMENT_HEADERS);
}

/* The packet becomes the whole datagram, with a Fragment header that says so, or as much of it as
 * the kernel allows. */
INLINE enum reason tc_become_first_translated(struct __sk_buff *skb, struct datagram *datagram)
{
	__u32 length = first_length_64(datagram);
	_Bool more = length < datagram->total;
	struct ipv6_header ipv6;
	struct ipv6_fragment_header header;

	__builtin_memcpy(&ipv6, datagram->headers, sizeof(ipv6));
	__builtin_memcpy(&header, datagram->headers + sizeof(ipv6), sizeof(header));
	ipv6.payload_length = net16(sizeof(header) + length);
	header.fragment = net16(more);
	if (tc_become_piece(skb, datagram, IPV6_FRAGMENT_HEADERS, 0, length)) {
		end_datagram(datagram);
		return REASON_KERNEL_REFUSED;
	}
	tc_write(skb, L2_LENGTH, &ipv6, sizeof(ipv6));
	tc_write(skb, L2_LENGTH + sizeof(ipv6), &header, sizeof(header));
	return tc_leave_buffer(skb, datagram, more, PROGRAM_PIECES_64);
}

/* Fragment program. */
INLINE enum reason keep_or_translate(struct __sk_buff *skb, struct tc_downstream *down,
				     struct tc_fragment *fragment)
{
	struct datagram *whole = 0;
	struct ipv6_view ipv6;
	enum reason reason = tc_read_translated_fragment(skb, down, &ipv6, fragment);

	if (reason)
		return reason;
	if (is_atomic(&fragment->part))
		return tc_continue(skb, PROGRAM_PIECES_64);
	if (fragment->fate == FATE_COMPLETE)
		return REASON_FRAGMENT_INVALID;
	if (fragment->fate != FATE_KEPT && fragment->part.protocol != PROTOCOL_ICMPV6 &&
	    (!fragment->part.offset || fragment->fate == FATE_FOLLOW))
		return tc_continue(skb, PROGRAM_PIECES_64);
	reason = tc_keep(skb, fragment, &whole);
	if (reason || !whole)
		return reason;
	return tc_become_first_translated(skb, whole);
}

/* A later fragment gets its first one's addresses. */
INLINE enum reason follow_translated_64(const struct tc_fragment *fragment,
					const struct ipv6_view *ipv6, struct ipv4_header *ipv4)
{
	const struct fragment_entry *entry = fragments_lookup(&fragment->work->key);

	if (!entry || fragment->fate != FATE_FOLLOW)
		return REASON_FRAGMENT_INVALID;
	ipv4_header_from_ipv6(ipv6, entry->source, entry->destination, 0, ipv4);
	return REASON_TRANSLATED;
}

/* A first fragment, an atomic one or a whole datagram: its transport header is changed. */
INLINE enum reason tc_arrive_translated(struct __sk_buff *skb, const struct tc_downstream *down,
					const struct tc_fragment *fragment,
					struct translated_64 *packet, struct ipv4_header *ipv4)
{
	struct translation_64 out = {};
	enum reason reason = parse_fragmented_ipv6(tc_data(skb), tc_end(skb), &fragment->part,
						   &packet->transport);

	if (!reason && lacks_checksum(&packet->transport))
		reason = REASON_UDP_CHECKSUM_ZERO;
	if (!reason)
		reason = find_translated_endpoint(
			down->config, rule_of_translated(down->config, packet->ipv6.source),
			packet);
	if (reason)
		return reason;
	packet->transport.keeps_mss = 1;
	translate_64(down->config, tc_data(skb), tc_end(skb), packet, 0, &out);
	if (tc_make_writable(skb, &packet->transport))
		return REASON_KERNEL_REFUSED;
	tc_write_transport(skb, DIRECTION_64, &packet->transport, &out.change);
	*ipv4 = out.ipv4;
	if (fragment->part.more && fragment->fate != FATE_COMPLETE)
		remember_64(fragment, ipv4->source, ipv4->destination);
	return REASON_TRANSLATED;
}

INLINE enum reason tc_send_translated(struct __sk_buff *skb, const struct pieces *out)
{
	const __s32 rest = sizeof(struct ipv6_fragment_header);

	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV4), 0) ||
	    kernel_skb_adjust_room(skb, -rest, BPF_ADJ_ROOM_MAC, 0))
		return REASON_KERNEL_REFUSED;
	tc_write_piece(skb, out, PIECE_IPV4, out->offset, out->length, out->more);
	tc_write_ether_type(skb, ETHERTYPE_IPV4);
	return REASON_TRANSLATED;
}

/* Pieces program. */
INLINE enum reason translate_fragment_64(struct __sk_buff *skb, struct tc_downstream *down,
					 struct tc_fragment *fragment)
{
	struct pieces *out = &fragment->work->pieces;
	struct datagram *datagram = 0;
	struct translated_64 packet;
	struct ipv4_header ipv4;
	enum reason reason = tc_read_translated_fragment(skb, down, &packet.ipv6, fragment);

	if (!reason)
		reason = tc_begin_pieces_64(fragment, &datagram);
	if (reason)
		return reason;
	packet.ipv6.payload_length = out->length;
	packet.ipv6.next_header = fragment->part.protocol;
	if (fragment->part.offset)
		reason = follow_translated_64(fragment, &packet.ipv6, &ipv4);
	else
		reason = tc_arrive_translated(skb, down, fragment, &packet, &ipv4);
	if (!reason) {
		permit_fragments(&ipv4);
		__builtin_memcpy(out->ipv4, &ipv4, sizeof(ipv4));
	}
	if (datagram && !reason)
		return tc_send_complete(skb, fragment, datagram, PROGRAM_SEND_64, out);
	if (datagram)
		end_datagram(datagram);
	if (reason)
		return reason;
	down->bytes = sizeof(ipv4) + fragment->part.length;
	return tc_send_translated(skb, out);
}

#endif
