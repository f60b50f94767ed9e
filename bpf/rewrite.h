/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Writing an accelerated packet where it lies, at XDP and at TC alike: the hook has made room for its
 * headers, and its checksum is complete. */
#ifndef MAPXDP_REWRITE_H
#define MAPXDP_REWRITE_H

#include "csum.h"
#include "shortcut_learn.h"
#include "transport_change.h"

struct ethernet_header {
	__u16 hop[HOP_WORDS];
	__be16 type;
};

/* What becomes of a packet. */
struct rewriting {
	const void *headers; /* from the network header to the transport header */
	__u32 length;	     /* theirs */
	__s32 growth;	     /* of the packet */
	__u16 type;	     /* of the frame */
	const struct transport *transport;
	const struct transport_change *change;
	const struct shortcut *shortcut;
};

INLINE __u16 rewritten_checksum(const struct rewriting *to)
{
	const struct transport_change *change = to->change;
	__u16 checksum = ~sum_fold16((__u64)(__u16)~to->transport->checksum +
				     change->pseudo_header + change->data);

	return change->is_udp && !checksum ? 0xffff : checksum;
}

INLINE void rewrite_word(void *data, const void *end, __u32 offset, __u16 value)
{
	__u16 *place = data + (offset & 0xff);

	if ((const void *)(place + 1) <= end)
		*place = value;
}

/* The room for the headers is there already. False: nothing was written. */
INLINE _Bool rewrite(void *data, const void *end, const struct rewriting *to)
{
	const struct transport *transport = to->transport;
	const struct transport_change *change = to->change;
	struct ethernet_header *ethernet = data;

	if (data + sizeof(*ethernet) + to->length > end)
		return 0;
	copy_words(ethernet->hop, to->shortcut->hop, HOP_WORDS);
	ethernet->type = net16(to->type);
	/* Behind the 14 octets of Ethernet, IP is aligned. */
	__builtin_memcpy(__builtin_assume_aligned(ethernet + 1, 4),
			 __builtin_assume_aligned(to->headers, 4), to->length);
	rewrite_word(data, end, change->checksum_offset + to->growth, rewritten_checksum(to));
	rewrite_word(data, end, change->port_offset + to->growth, change->port);
	if (transport->index == INDEX_ICMP) {
		__u8 *icmp_type = data + ((transport->offset + to->growth) & 0xff);

		if ((const void *)(icmp_type + 1) <= end)
			*icmp_type = change->icmp_type;
	}
	return 1;
}

#endif
