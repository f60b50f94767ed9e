/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC ingress of a MAP-E or lw4o6 CE: fragments of the tunnel's packets, which are put together
 * first (RFC 2473 section 7.2), and IPv4 fragments in them. */
#ifndef MAPXDP_HOOK_TC_PIECES_MAPE_64_H
#define MAPXDP_HOOK_TC_PIECES_MAPE_64_H

#include "emit_mape.h"
#include "hook_tc_fragment_64.h"

enum {
	OUTER_FRAGMENT_HEADERS = sizeof(struct ipv6_header) + sizeof(struct ipv6_fragment_header),
	INNER_FRAGMENT_HEADERS = sizeof(struct ipv6_header) + sizeof(struct ipv4_header),
};

INLINE enum reason tc_read_outer(const struct __sk_buff *skb, const struct tc_downstream *down,
				 struct ipv6_view *outer, struct tc_fragment *fragment)
{
	enum reason reason = admit_outer_fragment(down->config, tc_data(skb), tc_end(skb),
						  L2_LENGTH, down->bytes, outer, &fragment->part);

	if (reason || is_atomic(&fragment->part))
		return reason;
	key_of_ipv6(outer, &fragment->part, &fragment->work->key);
	return tc_seek_fragment_64(down->config, fragment, OUTER_FRAGMENT_HEADERS);
}

INLINE enum reason tc_read_inner(const struct __sk_buff *skb, const struct tc_downstream *down,
				 struct encapsulated_64 *packet, __u32 *rule,
				 struct tc_fragment *fragment)
{
	enum reason reason = admit_outer_64(down->config, tc_data(skb), tc_end(skb), L2_LENGTH,
					    down->bytes, &packet->outer, rule);

	if (!reason)
		reason = admit_inner_64(down->config, tc_data(skb), tc_end(skb), packet);
	if (reason)
		return reason;
	fragment->part = fragment_of_ipv4(&packet->inner);
	reason = refuse_fragment(&fragment->part, IPV4_PAYLOAD_MAX);
	if (reason)
		return reason;
	if (!is_protocol_with_ports(fragment->part.protocol, PROTOCOL_ICMP))
		return REASON_PROTOCOL_WITHOUT_PORTS;
	key_of_inner(packet->outer.source, &packet->inner.header, &fragment->work->key);
	return tc_seek_fragment_64(down->config, fragment, INNER_FRAGMENT_HEADERS);
}

/* A fragment of the tunnel that is the whole packet. */
INLINE enum reason tc_strip_fragment_header(struct __sk_buff *skb, const struct fragment *part)
{
	const __s32 rest = sizeof(struct ipv6_fragment_header);
	struct ipv6_header outer;

	if (kernel_skb_load_bytes(skb, L2_LENGTH, &outer, sizeof(outer)) ||
	    kernel_skb_adjust_room(skb, -rest, BPF_ADJ_ROOM_MAC, 0))
		return REASON_KERNEL_REFUSED;
	outer.payload_length = net16(part->length);
	outer.next_header = PROTOCOL_IPV4;
	tc_write(skb, L2_LENGTH, &outer, sizeof(outer));
	return tc_continue(skb, PROGRAM_ENTRY_64);
}

/* An inner packet that came in fragments may be cut again, whatever they said. */
INLINE void permit_inner_fragments(struct datagram *datagram)
{
	struct ipv4_header inner;

	__builtin_memcpy(&inner, datagram->headers + sizeof(struct ipv6_header), sizeof(inner));
	permit_fragments(&inner);
	__builtin_memcpy(datagram->headers + sizeof(struct ipv6_header), &inner, sizeof(inner));
}

/* The packet becomes one whose inner packet never was cut, or as much of it as the kernel allows;
 * the kernel is still told by DF if it must not be cut. */
INLINE enum reason tc_become_inner(struct __sk_buff *skb, struct datagram *datagram)
{
	__u32 length = first_length_64(datagram);
	_Bool more = length < datagram->total;
	struct ipv6_header outer;
	struct ipv4_header inner;

	__builtin_memcpy(&outer, datagram->headers, sizeof(outer));
	__builtin_memcpy(&inner, datagram->headers + sizeof(outer), sizeof(inner));
	become_fragment(&inner, host16(inner.identification), 0, length, more);
	outer.payload_length = inner.total_length;
	if (tc_become_piece(skb, datagram, INNER_FRAGMENT_HEADERS, 0, length)) {
		end_datagram(datagram);
		return REASON_KERNEL_REFUSED;
	}
	tc_write(skb, L2_LENGTH, &outer, sizeof(outer));
	tc_write(skb, L2_LENGTH + sizeof(outer), &inner, sizeof(inner));
	return tc_leave_buffer(skb, datagram, more, more ? PROGRAM_PIECES_64 : PROGRAM_ENTRY_64);
}

/* Packets that must not be cut need no number of their own, and many have all the same one (RFC
 * 6864 section 4.1): pieces of two of them would be taken for those of one. */
INLINE void number_what_is_cut(struct ipv4_header *inner)
{
	__be16 old = inner->identification;

	if (!(inner->fragment & net16(IPV4_DONT_FRAGMENT)))
		return;
	inner->identification = kernel_random();
	inner->checksum = checksum_after(inner->checksum, old, inner->identification);
}

/* What was cut outside, and is too long to become one packet: its inner packet becomes a datagram
 * that was kept. */
INLINE enum reason tc_open_outer(struct __sk_buff *skb, struct tc_fragment *fragment,
				 struct datagram *datagram, const struct ipv6_header *outer)
{
	struct ipv4_header inner;
	__u32 length;

	__builtin_memcpy(&inner, datagram->payload, sizeof(inner));
	length = host16(inner.total_length);
	if (length <= sizeof(inner) || length > datagram->total || is_fragment(&inner)) {
		end_datagram(datagram);
		return REASON_MALFORMED_IPV4;
	}
	number_what_is_cut(&inner);
	key_of_inner(outer->source, &inner, &fragment->work->key);
	rename_datagram(fragment->work, datagram, fragment->buffer);
	datagram->start = sizeof(inner);
	datagram->total = length - sizeof(inner);
	__builtin_memcpy(datagram->headers, outer, sizeof(*outer));
	__builtin_memcpy(datagram->headers + sizeof(*outer), &inner, sizeof(inner));
	return tc_become_inner(skb, datagram);
}

/* The packet becomes one that never was cut outside. */
INLINE enum reason tc_become_outer(struct __sk_buff *skb, struct tc_fragment *fragment,
				   struct datagram *datagram)
{
	__u32 length = datagram->total;
	struct ipv6_header outer;

	__builtin_memcpy(&outer, datagram->headers, sizeof(outer));
	outer.payload_length = net16(length);
	outer.next_header = PROTOCOL_IPV4;
	if (length > LONGEST_INGRESS)
		return tc_open_outer(skb, fragment, datagram, &outer);
	if (tc_become_piece(skb, datagram, sizeof(outer), 0, length)) {
		end_datagram(datagram);
		return REASON_KERNEL_REFUSED;
	}
	tc_write(skb, L2_LENGTH, &outer, sizeof(outer));
	return tc_leave_buffer(skb, datagram, 0, PROGRAM_ENTRY_64);
}

INLINE enum reason tc_keep_outer(struct __sk_buff *skb, struct tc_fragment *fragment)
{
	struct datagram *whole = 0;
	enum reason reason;

	if (is_atomic(&fragment->part))
		return tc_strip_fragment_header(skb, &fragment->part);
	reason = tc_keep(skb, fragment, &whole);
	if (reason || !whole)
		return reason;
	return tc_become_outer(skb, fragment, whole);
}

INLINE enum reason tc_keep_inner(struct __sk_buff *skb, struct tc_fragment *fragment)
{
	struct datagram *whole = 0;
	enum reason reason;

	if (fragment->fate == FATE_COMPLETE)
		return REASON_FRAGMENT_INVALID;
	if (fragment->fate != FATE_KEPT &&
	    (!fragment->part.offset || fragment->fate == FATE_FOLLOW))
		return tc_continue(skb, PROGRAM_PIECES_64);
	reason = tc_keep(skb, fragment, &whole);
	if (reason || !whole)
		return reason;
	permit_inner_fragments(whole);
	return tc_become_inner(skb, whole);
}

/* Fragment program. */
INLINE enum reason keep_or_decapsulate(struct __sk_buff *skb, struct tc_downstream *down,
				       struct tc_fragment *fragment)
{
	struct encapsulated_64 packet;
	enum reason reason = tc_read_outer(skb, down, &packet.outer, fragment);
	__u32 rule;

	if (!reason)
		return tc_keep_outer(skb, fragment);
	if (reason != REASON_NOT_ENCAPSULATED || packet.outer.next_header != PROTOCOL_IPV4)
		return reason;
	reason = tc_read_inner(skb, down, &packet, &rule, fragment);
	return reason ? reason : tc_keep_inner(skb, fragment);
}

/* A first fragment, or a whole datagram: its transport header is changed. */
INLINE enum reason tc_arrive_encapsulated(struct __sk_buff *skb, const struct tc_downstream *down,
					  const struct tc_fragment *fragment, __u32 rule,
					  struct encapsulated_64 *packet, struct ipv4_header *ipv4)
{
	struct decapsulation_64 out = {};
	enum reason reason =
		parse_transport_ipv4(tc_data(skb), tc_end(skb), &packet->inner, &packet->transport);

	if (!reason)
		reason = find_inner_endpoint(down->config, rule, packet);
	if (reason)
		return reason;
	packet->transport.keeps_mss = 1;
	decapsulate_64(down->config, tc_data(skb), tc_end(skb), packet, &out);
	if (tc_make_writable(skb, &packet->transport))
		return REASON_KERNEL_REFUSED;
	tc_write_transport(skb, DIRECTION_64, &packet->transport, &out.change);
	*ipv4 = out.ipv4;
	if (fragment->part.more && fragment->fate != FATE_COMPLETE)
		remember_64(fragment, ipv4->source, ipv4->destination);
	return REASON_TRANSLATED;
}

INLINE enum reason follow_encapsulated_64(const struct tc_fragment *fragment,
					  const struct encapsulated_64 *packet,
					  struct ipv4_header *ipv4)
{
	const struct fragment_entry *entry = fragments_lookup(&fragment->work->key);
	const struct ipv4_header *inner = &packet->inner.header;

	if (!entry || fragment->fate != FATE_FOLLOW)
		return REASON_FRAGMENT_INVALID;
	ipv4_header_renumbered(inner, inner->source, entry->destination, packet->tos, ipv4);
	return REASON_TRANSLATED;
}

/* Pieces program. */
INLINE enum reason decapsulate_fragment_64(struct __sk_buff *skb, struct tc_downstream *down,
					   struct tc_fragment *fragment)
{
	struct pieces *out = &fragment->work->pieces;
	struct datagram *datagram = 0;
	struct encapsulated_64 packet;
	struct ipv4_header ipv4;
	__u32 rule = NO_RULE;
	enum reason reason = tc_read_inner(skb, down, &packet, &rule, fragment);

	if (!reason)
		reason = tc_begin_pieces_64(fragment, &datagram);
	if (reason) {
		/* The inner packet of what was cut outside is admitted here for the first time. If it
		 * was not even read, the key is still the one tc_open_outer() gave the datagram. */
		abandon_datagram(&fragment->work->key, current_tick(down->config), DIRECTION_64);
		return reason;
	}
	if (fragment->part.offset)
		reason = follow_encapsulated_64(fragment, &packet, &ipv4);
	else
		reason = tc_arrive_encapsulated(skb, down, fragment, rule, &packet, &ipv4);
	if (!reason)
		__builtin_memcpy(out->ipv4, &ipv4, sizeof(ipv4));
	if (datagram && !reason)
		return tc_send_complete(skb, fragment, datagram, PROGRAM_SEND_64, out);
	if (datagram)
		end_datagram(datagram);
	if (reason)
		return reason;
	down->bytes = packet.inner.total_length;
	if (tc_remove_tunnel_header(skb))
		return REASON_KERNEL_REFUSED;
	tc_write(skb, L2_LENGTH, &ipv4, sizeof(ipv4));
	tc_write_ether_type(skb, ETHERTYPE_IPV4);
	return REASON_TRANSLATED;
}

#endif
