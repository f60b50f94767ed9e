/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The TC hook: keeping fragments, and making packets of what was kept. */
#ifndef MAPXDP_HOOK_TC_FRAGMENT_H
#define MAPXDP_HOOK_TC_FRAGMENT_H

#include "fragment_table.h"
#include "hook_tc.h"

/* Between 1 and PIECE_MAX, as the helpers want to be shown; it changes nothing else. */
INLINE __u32 bounded_piece(__u32 length)
{
	OPAQUE(length);
	return ((length - 1) & (PIECE_MAX - 1)) + 1;
}

/* What a packet counts as that was kept, and where it was. It ends here: its sender is not to
 * think that it was lost. */
INLINE int tc_finish_fragment(enum direction direction, enum reason reason, __u32 packets,
			      __u32 bytes)
{
	int verdict = tc_finish(direction, reason, packets, bytes);

	return reason == REASON_FRAGMENT_KEPT ? TC_ACT_STOLEN : verdict;
}

/* A fragment, its IP headers beginning at L2_LENGTH, and the datagram it belongs to. */
struct tc_fragment {
	struct fragment_work *work;
	struct fragment part;
	enum direction direction;
	__u32 headers_length;
	__u32 now;
	__u32 buffer; /* where it is kept */
	enum fragment_fate fate;
};

/* What the table says of the fragment, whose key is in the work. */
INLINE void seek_fragment(const struct config *config, struct tc_fragment *fragment)
{
	fragment->buffer = 0;
	fragment->now = current_tick(config);
	fragment->fate = fate_of(&fragment->work->key, fragment->now, fragment->direction,
				 &fragment->buffer);
}

/* Copies octets of the packet into a buffer. */
INLINE long tc_store_payload(const struct __sk_buff *skb, struct datagram *datagram, __u32 from,
			     __u32 to, __u32 length)
{
	return kernel_skb_load_bytes(skb, from, payload_at(datagram, datagram->start + to),
				     bounded_piece(length));
}

/* Puts the fragment beside the others of its datagram. REASON_TRANSLATED: it was the last one
 * that was missing, and `whole` is ours. */
INLINE enum reason tc_keep(const struct __sk_buff *skb, const struct tc_fragment *fragment,
			   struct datagram **whole)
{
	const struct fragment *part = &fragment->part;
	struct datagram *datagram;

	if (part->length > PIECE_MAX)
		return REASON_FRAGMENTS_FULL;
	if (fragment->fate == FATE_KEPT)
		datagram = take_datagram(&fragment->work->key, fragment->buffer, DATAGRAM_KEPT);
	else
		datagram = begin_datagram(fragment->work, fragment->now, fragment->direction);
	if (!datagram)
		return REASON_FRAGMENTS_FULL;
	switch (join_fragment(datagram, part)) {
	case JOINING_OVERLAPS:
		drop_overlapped(fragment->work, datagram, fragment->now);
		return REASON_FRAGMENT_INVALID;
	case JOINING_REFUSED:
		publish_use(datagram, DATAGRAM_KEPT);
		return REASON_FRAGMENT_INVALID;
	default:
		break;
	}
	if (tc_store_payload(skb, datagram, part->payload, part->offset, part->length) ||
	    (!part->offset &&
	     kernel_skb_load_bytes(skb, L2_LENGTH, datagram->headers, fragment->headers_length))) {
		end_datagram(datagram);
		return REASON_KERNEL_REFUSED;
	}
	if (datagram->received != datagram->total) {
		publish_use(datagram, DATAGRAM_KEPT);
		return REASON_FRAGMENT_KEPT;
	}
	count_event(fragment->direction, REASON_DATAGRAM_REASSEMBLED);
	*whole = datagram;
	return REASON_TRANSLATED;
}

/* Makes the packet as long as `headers` octets after the link-layer header, and `length` of the
 * datagram's payload from `from` on, and writes the latter. */
INLINE long tc_become_piece(struct __sk_buff *skb, struct datagram *datagram, __u32 headers,
			    __u32 from, __u32 length)
{
	long error = kernel_skb_change_tail(skb, L2_LENGTH + headers + length, 0);

	if (error)
		return error;
	return kernel_skb_store_bytes(skb, L2_LENGTH + headers,
				      payload_at(datagram, datagram->start + from),
				      bounded_piece(length), 0);
}

/* Octets of the headers of a piece. */
INLINE __u32 headers_of(enum piece_form form)
{
	switch (form) {
	case PIECE_IPV6_FRAGMENT:
		return sizeof(struct ipv6_header) + sizeof(struct ipv6_fragment_header);
	case PIECE_ENCAPSULATED:
		return sizeof(struct ipv6_header) + sizeof(struct ipv4_header);
	default:
		return sizeof(struct ipv4_header);
	}
}

INLINE void tc_write_ipv4_piece(struct __sk_buff *skb, __u32 at, const struct pieces *pieces,
				__u32 offset, __u32 length, _Bool more)
{
	struct ipv4_header header;

	__builtin_memcpy(&header, pieces->ipv4, sizeof(header));
	become_fragment(&header, pieces->identification, offset, length, more);
	tc_write(skb, at, &header, sizeof(header));
}

INLINE void tc_write_ipv6_piece(struct __sk_buff *skb, const struct pieces *pieces, __u32 offset,
				__u32 length, _Bool more)
{
	struct ipv6_fragment_header fragment;
	struct ipv6_header ipv6;

	__builtin_memcpy(&ipv6, pieces->ipv6, sizeof(ipv6));
	ipv6_fragment_header(ipv6.next_header, pieces->identification, offset, more, &fragment);
	ipv6.next_header = EXTENSION_FRAGMENT;
	ipv6.payload_length = net16(sizeof(fragment) + length);
	tc_write(skb, L2_LENGTH, &ipv6, sizeof(ipv6));
	tc_write(skb, L2_LENGTH + sizeof(ipv6), &fragment, sizeof(fragment));
}

/* The headers of a piece that holds `length` octets of payload, at `offset` of the datagram. */
INLINE void tc_write_piece(struct __sk_buff *skb, const struct pieces *pieces, enum piece_form form,
			   __u32 offset, __u32 length, _Bool more)
{
	struct ipv6_header ipv6;

	switch (form) {
	case PIECE_IPV6_FRAGMENT:
		tc_write_ipv6_piece(skb, pieces, offset, length, more);
		return;
	case PIECE_ENCAPSULATED:
		__builtin_memcpy(&ipv6, pieces->ipv6, sizeof(ipv6));
		ipv6.payload_length = net16(sizeof(struct ipv4_header) + length);
		tc_write(skb, L2_LENGTH, &ipv6, sizeof(ipv6));
		tc_write_ipv4_piece(skb, L2_LENGTH + sizeof(ipv6), pieces, offset, length, more);
		return;
	default:
		tc_write_ipv4_piece(skb, L2_LENGTH, pieces, offset, length, more);
	}
}

/* The packet becomes one piece after the other, and they are sent from here; they come by our
 * programs again, which have nothing to do with them. Upstream it stays the last one. Downstream
 * the pieces wait in a queue, where the last one has to stand too.
 *
 * How much is done is kept in the buffer: the verifier would follow each number of octets. */
INLINE enum reason tc_send_pieces(struct __sk_buff *skb, struct datagram *datagram,
				  enum piece_form form, __u64 way)
{
	struct pieces *pieces = &datagram->pieces;

	pieces->done = 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < FRAGMENTS_MAX; i++) {
		__u32 done = READ_ONCE(pieces->done);
		__u32 limit = READ_ONCE(pieces->limit);
		__u32 rest = READ_ONCE(pieces->length) - done;
		_Bool is_last = rest <= limit;
		__u32 length = is_last ? rest : limit & ~7U;

		if (tc_become_piece(skb, datagram, headers_of(form), done, length))
			return REASON_KERNEL_REFUSED;
		tc_write_piece(skb, pieces, form, pieces->offset + done, length,
			       !is_last || pieces->more);
		if (!is_last || way)
			kernel_clone_redirect(skb, skb->ifindex, way);
		if (is_last)
			return REASON_TRANSLATED;
		WRITE_ONCE(pieces->done, done + length);
	}
	return REASON_KERNEL_REFUSED;
}

/* All is in the buffer: it is sent, and given back. */
INLINE enum reason tc_send_from(struct __sk_buff *skb, struct datagram *datagram, __u32 buffer,
				enum program_index program, const struct pieces *out)
{
	enum reason reason;

	datagram->pieces = *out;
	skb->cb[CB_VALUE] = buffer;
	reason = tc_continue(skb, program);
	end_datagram(datagram);
	return reason;
}

/* A complete datagram, of which the packet is the first fragment, whose headers have changed. */
INLINE enum reason tc_send_complete(struct __sk_buff *skb, const struct tc_fragment *fragment,
				    struct datagram *datagram, enum program_index program,
				    struct pieces *out)
{
	out->bytes = sizeof(struct ipv4_header) + out->length;
	if (!tc_store_payload(skb, datagram, fragment->part.payload, 0, fragment->part.length))
		return tc_send_from(skb, datagram, fragment->buffer, program, out);
	end_datagram(datagram);
	return REASON_KERNEL_REFUSED;
}

/* Send program: the datagram in the buffer CB_VALUE, which is ours. */
INLINE int tc_send(struct __sk_buff *skb, enum direction direction, __u16 family, __u64 way)
{
	struct datagram *datagram = datagram_at(skb->cb[CB_VALUE]);
	enum reason reason = REASON_KERNEL_REFUSED;
	__u32 bytes;

	if (!datagram)
		return tc_finish(direction, REASON_PROGRAM_MISSING, 1, tc_network_length(skb));
	bytes = datagram->pieces.bytes;
	if (!kernel_skb_change_proto(skb, net16(family), 0)) {
		tc_write_ether_type(skb, family);
		if (family == ETHERTYPE_IPV4)
			reason = tc_send_pieces(skb, datagram, PIECE_IPV4, way);
		else if (datagram->pieces.form == PIECE_ENCAPSULATED)
			reason = tc_send_pieces(skb, datagram, PIECE_ENCAPSULATED, way);
		else
			reason = tc_send_pieces(skb, datagram, PIECE_IPV6_FRAGMENT, way);
	}
	if (!reason && datagram->pieces.is_cut)
		count_event(direction, REASON_DATAGRAM_FRAGMENTED);
	end_datagram(datagram);
	if (reason || !way)
		return tc_finish(direction, reason, 1, bytes);
	tc_finish(direction, reason, 1, bytes);
	return TC_ACT_STOLEN;
}

#endif
