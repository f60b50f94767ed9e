/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC ingress of the WAN: fragments from the WAN, before anything is changed.
 *
 * Those that are in order follow their first, others are kept until the datagram is complete. It
 * then becomes a packet as long as the kernel allows, and goes where such a packet goes. */
#ifndef MAPXDP_HOOK_TC_FRAGMENT_64_H
#define MAPXDP_HOOK_TC_FRAGMENT_64_H

#include "hook_tc_fragment.h"
#include "translate64.h"

/* At ingress a packet can be made this long and not much longer, IPv4 header included. */
enum { LONGEST_INGRESS = 16000 };

/* Octets of a datagram's payload that the first packet made of it takes. */
INLINE __u32 first_length_64(const struct datagram *datagram)
{
	if (datagram->total <= LONGEST_INGRESS - sizeof(struct ipv4_header))
		return datagram->total;
	return piece_size(LONGEST_INGRESS, sizeof(struct ipv4_header));
}

INLINE enum reason tc_seek_fragment_64(const struct config *config, struct tc_fragment *fragment,
				       __u32 headers_length)
{
	fragment->headers_length = headers_length;
	seek_fragment(config, fragment);
	return fragment->fate == FATE_OVERLAPPED ? REASON_FRAGMENT_INVALID : REASON_TRANSLATED;
}

/* The buffer's datagram is in the packet, if it is not `more` than that. */
INLINE enum reason tc_leave_buffer(struct __sk_buff *skb, struct datagram *datagram, _Bool more,
				   enum program_index program)
{
	if (more)
		publish_use(datagram, DATAGRAM_COMPLETE);
	else
		end_datagram(datagram);
	return tc_continue(skb, program);
}

/* How a mode reads a fragment and what it does with it: inlined into the program. */
typedef enum reason (*fragment_step)(struct __sk_buff *skb, struct tc_downstream *down,
				     struct tc_fragment *fragment);

/* Fragment and pieces programs. */
INLINE int tc_fragment_64(struct __sk_buff *skb, fragment_step step)
{
	struct tc_downstream down = {
		.config = active_config(),
		.packets = 1,
		.bytes = tc_network_length(skb),
	};
	struct tc_fragment fragment = {
		.work = fragment_work(),
		.direction = DIRECTION_64,
	};
	enum reason reason = REASON_KERNEL_REFUSED;

	tc_pull_headers(skb);
	if (fragment.work)
		reason = step(skb, &down, &fragment);
	if (reason)
		reason = tc_answer_64(skb, down.config, reason);
	return tc_finish_fragment(DIRECTION_64, reason, down.packets, down.bytes);
}

/* What an entry of the table says of later fragments of a datagram from the WAN. */
INLINE void remember_64(const struct tc_fragment *fragment, __be32 source, __be32 destination)
{
	fragment->work->entry = (struct fragment_entry){
		.source = source,
		.destination = destination,
		.tick = fragment->now,
		.fate = FATE_FOLLOW,
	};
	fragments_remember(fragment->work);
}

/* The buffer of a datagram that has come to its end, and how much it is; else the fragment is what
 * there is. */
INLINE enum reason tc_begin_pieces_64(const struct tc_fragment *fragment,
				      struct datagram **datagram)
{
	struct pieces *out = &fragment->work->pieces;

	out->form = PIECE_IPV4;
	out->offset = fragment->part.offset;
	out->length = fragment->part.length;
	out->more = fragment->part.more;
	out->identification = fragment->part.identification & 0xffff;
	out->limit = LONGEST_INGRESS - sizeof(struct ipv4_header);
	out->is_cut = 0;
	if (fragment->fate != FATE_COMPLETE)
		return REASON_TRANSLATED;
	*datagram = take_datagram(&fragment->work->key, fragment->buffer, DATAGRAM_COMPLETE);
	if (!*datagram)
		return REASON_FRAGMENTS_FULL;
	out->length = (*datagram)->total;
	out->more = 0;
	return REASON_TRANSLATED;
}

#endif
