/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors in a frame: reading what they quote, and changing it in its place. For the programs
 * that carry errors; the fast path has none of this. */
#ifndef MAPXDP_HOOK_TC_ERROR_H
#define MAPXDP_HOOK_TC_ERROR_H

#include "hook_tc_sum.h"
#include "quote.h"
#include "rfc4884.h"

/* A message, by offsets in the frame. */
struct tc_error {
	struct icmp_error icmp;
	__u32 offset;
	__u32 quote_end; /* extension objects follow */
	__u32 end;
};

INLINE __u32 tc_quote_offset(const struct tc_error *error)
{
	return error->offset + sizeof(error->icmp);
}

/* The message of at least 8 octets at `offset`. False if they are not there after all. */
INLINE _Bool tc_read_error(struct __sk_buff *skb, __u32 offset, __u32 end, struct tc_error *error)
{
	error->offset = offset;
	error->quote_end = end;
	error->end = end;
	return !kernel_skb_load_bytes(skb, offset, &error->icmp, sizeof(error->icmp));
}

/* RFC 5508 REQ-3. */
INLINE enum reason tc_check_icmp(struct __sk_buff *skb, const struct tc_error *error,
				 __u64 pseudo_header)
{
	__u32 sum = sum_fold32(pseudo_header);

	if (!tc_sum(skb, error->offset, error->end - error->offset, &sum) ||
	    sum_fold16(sum) != 0xffff)
		return REASON_ICMP_CHECKSUM;
	return REASON_TRANSLATED;
}

/* `length` as RFC 4884 says, in octets; 0: the quote is all there is. */
INLINE void tc_bound_quote(struct tc_error *error, __u32 length)
{
	__u32 start = tc_quote_offset(error);

	error->quote_end = start + quoted_octets(length, error->end - start);
}

INLINE enum reason tc_read_quoted(struct __sk_buff *skb, __u32 offset, __u32 end, __u8 protocol,
				  __u8 icmp, struct quoted_transport *transport)
{
	__u32 checksum = offset + __builtin_offsetof(struct tcp_header, checksum);
	__be16 word[QUOTED_LEAST / 2];

	*transport = (struct quoted_transport){.offset = offset, .length = end - offset};
	if (offset + QUOTED_LEAST > end || kernel_skb_load_bytes(skb, offset, word, QUOTED_LEAST))
		return REASON_QUOTE_INVALID;
	if (!read_quoted(protocol, icmp, word, transport))
		return REASON_QUOTE_INVALID;
	if (transport->index != INDEX_TCP || transport->length < TCP_CHECKSUM_END)
		return REASON_TRANSLATED;
	if (kernel_skb_load_bytes(skb, checksum, word, sizeof(word[0])))
		return REASON_QUOTE_INVALID;
	transport->checksum = word[0];
	transport->has_checksum = 1;
	return REASON_TRANSLATED;
}

INLINE _Bool tc_is_header_sound(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	struct scratch *scratch = the_scratch();
	__u32 sum = 0;

	return scratch && tc_sum_rest(skb, scratch, offset, length, &sum) &&
	       sum_fold16(sum) == 0xffff;
}

/* The IPv4 packet that begins at `offset` of the frame. */
INLINE enum reason tc_read_quote4(struct __sk_buff *skb, __u32 offset, __u32 end,
				  struct quote4 *quote)
{
	struct ipv4_header *header = &quote->header;
	__u32 length;

	if (offset + sizeof(*header) > end ||
	    kernel_skb_load_bytes(skb, offset, header, sizeof(*header)))
		return REASON_QUOTE_INVALID;
	length = (header->version_and_length & 0xf) * 4;
	if (header->version_and_length >> 4 != 4 || length < sizeof(*header) ||
	    length > host16(header->total_length) || offset + length > end ||
	    header->fragment & net16(IPV4_FRAGMENT_OFFSET) ||
	    !tc_is_header_sound(skb, offset, length))
		return REASON_QUOTE_INVALID;
	return tc_read_quoted(skb, offset + length, end, header->protocol, PROTOCOL_ICMP,
			      &quote->transport);
}

/* What a quoted transport header becomes, in its place. */
INLINE void tc_write_quoted(struct __sk_buff *skb, const struct quoted_transport *transport,
			    const struct quoted_change *change)
{
	if (transport->index == INDEX_ICMP) {
		tc_write_header(
			skb, transport->offset + __builtin_offsetof(struct icmp_header, identifier),
			change->ports, sizeof(change->ports[0]));
		tc_write_header(skb, transport->offset, &change->icmp_type,
				sizeof(change->icmp_type));
	} else {
		tc_write_header(skb, transport->offset, change->ports, sizeof(change->ports));
	}
	if (transport->has_checksum)
		tc_write_header(skb, quoted_checksum_offset(transport), &change->checksum,
				sizeof(change->checksum));
}

/* The checksum of a message in which that field is zero, last of all. */
INLINE enum reason tc_write_icmp_checksum(struct __sk_buff *skb, __u32 offset, __u32 length,
					  __u64 pseudo_header)
{
	__u32 sum = sum_fold32(pseudo_header);
	__u16 checksum;

	if (!tc_sum(skb, offset, length, &sum))
		return REASON_KERNEL_REFUSED;
	checksum = ~sum_fold16(sum);
	tc_write_header(skb, offset + __builtin_offsetof(struct icmp_error, checksum), &checksum,
			sizeof(checksum));
	return REASON_TRANSLATED;
}

/* The last question before the point of no return, as tc_make_writable() asks it: the whole
 * packet will be read and written. */
INLINE enum reason tc_make_all_writable(struct __sk_buff *skb)
{
	return kernel_skb_pull_data(skb, skb->len) ? REASON_KERNEL_REFUSED : REASON_TRANSLATED;
}

/* The same error about the same packet between other ends, in IPv4 as it was. The outer header
 * is for the caller. */
INLINE enum reason tc_renumber_error(struct __sk_buff *skb, const struct tc_error *error,
				     const struct quote4 *quote, const struct quoted_ends *ends)
{
	__u16 no_checksum = 0;
	struct ipv4_header header;
	struct quoted_change change;

	renumber_quote(quote, ends, &header, &change);
	if (tc_make_all_writable(skb))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, tc_quote_offset(error), &header, sizeof(header));
	tc_write_quoted(skb, &quote->transport, &change);
	tc_write_header(skb, error->offset + __builtin_offsetof(struct icmp_error, checksum),
			&no_checksum, sizeof(no_checksum));
	return tc_write_icmp_checksum(skb, error->offset, error->end - error->offset, 0);
}

INLINE struct objects *the_objects(void)
{
	__u32 only = 0;

	return kernel_map_lookup(MAP(objects), &only);
}

/* Lays out what follows the quoted IP headers, which end at `start`: the payload stays where it
 * is, the objects come behind it. */
INLINE enum reason tc_lay_out(struct __sk_buff *skb, __u32 start, __u32 objects_offset,
			      const struct error_layout *layout)
{
	struct objects *objects = the_objects();
	__u32 end = start + layout->payload;
	__u32 before = layout->objects - 1;
	__u32 moved = layout->padding + before;
	__u32 begin = OBJECTS_PADDING - layout->padding;

	if (!objects)
		return REASON_KERNEL_REFUSED;
	OPAQUE(before);
	before &= OBJECTS_MAX - 1;
	if (layout->objects &&
	    kernel_skb_load_bytes(skb, objects_offset, objects->octets, before + 1))
		return REASON_KERNEL_REFUSED;
	if (kernel_skb_change_tail(skb, end + layout->padding + layout->objects, 0))
		return REASON_KERNEL_REFUSED;
	OPAQUE(begin);
	begin &= 2 * OBJECTS_PADDING - 1;
	OPAQUE(moved);
	moved &= OBJECTS_MAX - 1;
	if (layout->objects)
		kernel_skb_store_bytes(skb, end, (const __u8 *)objects + begin, moved + 1,
				       BPF_F_RECOMPUTE_CSUM);
	return REASON_TRANSLATED;
}

/* The packet in the other family, its headers `change` octets longer or shorter. Taking or giving
 * 20 of them as a change of family, and the rest as room, needs no flag of newer kernels. */
INLINE enum reason tc_change_family(struct __sk_buff *skb, __u16 ether_type, __s32 change)
{
	const __s32 differ = sizeof(struct ipv6_header) - sizeof(struct ipv4_header);
	__s32 rest = ether_type == ETHERTYPE_IPV6 ? change - differ : change + differ;

	if (kernel_skb_change_proto(skb, net16(ether_type), 0))
		return REASON_KERNEL_REFUSED;
	if (rest && kernel_skb_adjust_room(skb, rest, BPF_ADJ_ROOM_MAC, 0))
		return REASON_KERNEL_REFUSED;
	tc_write_ether_type(skb, ether_type);
	return REASON_TRANSLATED;
}

#endif
