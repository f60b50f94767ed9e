/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The XDP hook: the geometry of a frame, and writing into it. Beside hook_tc.h the only place that
 * knows which hook it runs in.
 *
 * XDP does not know whether a checksum has been left to the network card, as senders on this
 * machine do (veth, guests): such packets are TC's. Whatever is not redirected goes on untouched. */
#ifndef MAPXDP_HOOK_XDP_H
#define MAPXDP_HOOK_XDP_H

#include "csum.h"
#include "shortcut_learn.h"
#include "transport_change.h"

INLINE const void *xdp_data(const struct xdp_md *frame)
{
	return (const void *)(long)frame->data;
}

INLINE const void *xdp_end(const struct xdp_md *frame)
{
	return (const void *)(long)frame->data_end;
}

struct ethernet_header {
	__u16 hop[HOP_WORDS];
	__be16 type;
};

INLINE _Bool xdp_is_of_type(const struct xdp_md *frame, __u16 type)
{
	const struct ethernet_header *ethernet = xdp_data(frame);

	return (const void *)(ethernet + 1) <= xdp_end(frame) && ethernet->type == net16(type);
}

/* Whether the frame is for this host, and not for another that the link shows it to. */
INLINE _Bool xdp_is_for(const struct xdp_md *frame, const struct shortcut *shortcut)
{
	const struct ethernet_header *ethernet = xdp_data(frame);

	return (const void *)(ethernet + 1) <= xdp_end(frame) &&
	       are_same_words(ethernet->hop, shortcut->own, OWN_WORDS);
}

/* True if the checksum is no more than the sum of the pseudo header: the rest is to be added by the
 * card. One in 65536 others looks the same, and is TC's too. */
INLINE _Bool is_checksum_pending(const struct transport *transport, __u64 pseudo_header)
{
	__u16 sum = sum_fold16(pseudo_header);
	__u16 difference = sum - transport->checksum;

	return !difference || (sum == 0xffff && !transport->checksum);
}

INLINE void xdp_store16(void *data, const void *end, __u32 offset, __u16 value)
{
	__u16 *place = data + (offset & 0xff);

	if ((const void *)(place + 1) <= end)
		*place = value;
}

/* The headers of the packet, which grow by `growth`, and the frame's. Verdict: XDP_PASS where
 * nothing was written. */
INLINE int xdp_write(struct xdp_md *frame, __s32 growth, const void *headers, __u32 length,
		     const struct transport *transport, const struct transport_change *change,
		     const struct shortcut *shortcut, __u16 type)
{
	__u16 checksum = ~sum_fold16((__u64)(__u16)~transport->checksum + change->pseudo_header +
				     change->data);
	struct ethernet_header *ethernet;
	const void *end;
	void *data;

	if (change->is_udp && !checksum)
		checksum = 0xffff;
	if (kernel_xdp_adjust_head(frame, -growth))
		return XDP_PASS;
	/* From here on there is no way back: the packet is changed. */
	data = (void *)xdp_data(frame);
	end = xdp_end(frame);
	ethernet = data;
	if (data + sizeof(*ethernet) + length > end)
		return XDP_ABORTED; /* cannot be: it was longer */
	copy_words(ethernet->hop, shortcut->hop, HOP_WORDS);
	ethernet->type = net16(type);
	/* Behind the 14 octets of Ethernet, IP is aligned. */
	__builtin_memcpy(__builtin_assume_aligned(ethernet + 1, 4),
			 __builtin_assume_aligned(headers, 4), length);
	xdp_store16(data, end, change->checksum_offset + growth, checksum);
	xdp_store16(data, end, change->port_offset + growth, change->port);
	if (transport->index == INDEX_ICMP) {
		__u8 *icmp_type = data + ((transport->offset + growth) & 0xff);

		if ((const void *)(icmp_type + 1) <= end)
			*icmp_type = change->icmp_type;
	}
	return kernel_redirect(shortcut->ifindex, 0);
}

#endif
